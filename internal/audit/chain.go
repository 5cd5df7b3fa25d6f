package audit

import (
	"crypto/sha256"
	"strconv"

	"mobileid/internal/db"
)

// genesis is what the first entry of the chain follows.
func genesis() []byte { return make([]byte, sha256.Size) }

// Hash is SHA-256 over writer, number and body of a record, each with its length
// (4 bytes, big-endian) in front.
func Hash(writer string, seq int64, body []byte) []byte {
	return digest([]byte(writer), number(seq), body)
}

// linkHash is that of an entry of the chain.
func linkHash(prev []byte, seq int64, writer string, recordSeq int64, record []byte) []byte {
	return digest([]byte("mid/audit/1"), prev, number(seq), []byte(writer), number(recordSeq), record)
}

func number(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

func digest(parts ...[]byte) []byte {
	h := sha256.New()
	for _, part := range parts {
		n := len(part)
		h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		h.Write(part)
	}
	return h.Sum(nil)
}

// link is the entry that puts r behind head.
func link(head db.AuditLink, r db.AuditRecord) db.AuditLink {
	l := db.AuditLink{Seq: head.Seq + 1, Writer: r.Writer, RecordSeq: r.Seq, Prev: head.Hash}
	l.Hash = linkHash(l.Prev, l.Seq, l.Writer, l.RecordSeq, r.Hash)
	return l
}

// Package static serves the style sheet, scripts and icon of the pages from
// the binary, under addresses that carry a hash of their content.
//
// The hash makes a changed file a new address, so that every answer may be
// kept by the browser for good (RFC 8246) and an upgrade never mixes old
// scripts with new pages.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// Prefix is the path under which Handler must be mounted, unstripped.
const Prefix = "/static/"

//go:embed assets
var files embed.FS

// asset is one embedded file, ready to be sent.
type asset struct {
	url   string
	kind  string
	plain []byte
	gzip  []byte // nil when compression does not make it smaller
}

// catalogue finds assets by their own name, for pages, and by their address,
// for requests.
type catalogue struct {
	byName map[string]*asset
	byURL  map[string]*asset
}

// load hashes and compresses the files once, on first use. Its panics speak of
// a broken build, and the tests of this package reach each of them.
var load = sync.OnceValue(func() catalogue {
	c := catalogue{byName: map[string]*asset{}, byURL: map[string]*asset{}}
	err := fs.WalkDir(files, "assets", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(p, "assets/")
		a, err := newAsset(name, body)
		if err != nil {
			return err
		}
		c.byName[name], c.byURL[a.url] = a, a
		return nil
	})
	if err != nil {
		panic(fmt.Errorf("static: embedded files: %w", err))
	}
	return c
})

func newAsset(name string, body []byte) (*asset, error) {
	kinds := map[string]string{
		".css": "text/css; charset=utf-8",
		".js":  "text/javascript; charset=utf-8",
		".svg": "image/svg+xml",
	}
	ext := path.Ext(name)
	kind, ok := kinds[ext]
	if !ok {
		return nil, fmt.Errorf("%s: no media type for %q", name, ext)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:6])
	a := &asset{
		url:   Prefix + strings.TrimSuffix(name, ext) + "." + hash + ext,
		kind:  kind,
		plain: body,
	}
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if z.Len() < len(body) {
		a.gzip = z.Bytes()
	}
	return a, nil
}

// URL returns the hashed address of an asset, such as
// /static/base.0123456789ab.css for "base.css". A name that is not embedded is a
// mistake in the program and panics.
func URL(name string) string {
	a, ok := load().byName[name]
	if !ok {
		panic("static: no asset named " + name)
	}
	return a.url
}

// Handler serves the assets to GET and HEAD. An address that is not exactly one
// of ours, an old hash included, is 404 and not kept by caches.
func Handler() http.Handler {
	byURL := load().byURL
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		a, ok := byURL[r.URL.Path]
		if !ok {
			h.Set("Cache-Control", "no-store")
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		body := a.plain
		h.Set("Vary", "Accept-Encoding")
		if a.gzip != nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
			body = a.gzip
			h.Set("Content-Encoding", "gzip")
		}
		h.Set("Content-Type", a.kind)
		h.Set("Content-Length", strconv.Itoa(len(body)))
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		if r.Method == http.MethodHead {
			return
		}
		// A failed write means that the browser is gone; nobody is left to tell.
		_, _ = w.Write(body)
	})
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3) as far as gzip
// is concerned: listed, and not refused by q=0.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		value, found := strings.CutPrefix(strings.ReplaceAll(q, " ", ""), "q=")
		if !found {
			return true
		}
		weight, err := strconv.ParseFloat(value, 64)
		return err == nil && weight > 0
	}
	return false
}

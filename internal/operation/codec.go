package operation

import (
	"encoding/binary"

	"mobileid/internal/kv"
	"mobileid/sdk/wire"
)

// An operation is written once and read by every list, answer and poll, so kv
// keeps it in a form that is short and costs next to nothing to read: a version,
// the texts, the bytes, then the numbers. Its id is its key and not repeated.
const recordVersion = 5

// texts are the members that are texts, in the order of the record.
func (o *Operation) texts() [19]*string {
	return [...]*string{&o.Kind, &o.Flow, &o.MerchantID, &o.ClientID, &o.ClientName, &o.UserID, &o.DeviceID,
		&o.Tpl, &o.Lang, &o.MinACR, &o.Match, &o.Initiator.IP, &o.Initiator.Browser,
		&o.Level, &o.Initiation, &o.AppID, &o.ClientData, &o.Scope, &o.Methods}
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (o Operation) MarshalBinary() (out []byte, err error) {
	out = append(make([]byte, 0, 192+len(o.View)+len(o.Post)+len(o.Data)+len(o.ClientData)), recordVersion)
	for _, s := range o.texts() {
		out = appendShort(out, *s)
	}
	if out, err = appendView(out, o.View); err != nil {
		return nil, err
	}
	if out, err = appendView(out, o.Post); err != nil {
		return nil, err
	}
	for _, b := range [...][]byte{o.Challenge, o.Data} {
		out = append(binary.AppendVarint(out, int64(len(b))), b...)
	}
	for _, n := range [...]int64{o.StartedAt, o.ExpiresAt - o.StartedAt} {
		out = binary.AppendVarint(out, n)
	}
	return out, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Of a record that is cut
// short or goes on behind its end nothing is taken over.
func (o *Operation) UnmarshalBinary(data []byte) error {
	if len(data) == 0 || data[0] != recordVersion {
		return kv.ErrRecord
	}
	var read Operation
	f := kv.ReadFields(data[1:])
	for _, s := range read.texts() {
		*s = readShort(f)
	}
	read.View, read.Post = readView(f), readView(f)
	for _, b := range [...]*[]byte{&read.Challenge, &read.Data} {
		if s := f.Take(f.Number()); s != "" {
			*b = []byte(s)
		}
	}
	read.StartedAt = f.Number()
	read.ExpiresAt = read.StartedAt + f.Number()
	if err := f.Done(); err != nil {
		return err
	}
	*o = read
	return nil
}

// encode is what encoding/json makes of the outcome: every decision stores one.
func (o *Outcome) encode() ([]byte, error) {
	at, err := o.At.MarshalJSON()
	if err != nil {
		return nil, err
	}
	w := wire.NewObject(768)
	w.Text("operationId", o.OperationID)
	w.Text("kind", o.Kind)
	w.Text("state", string(o.State))
	w.TextIf("clientId", o.ClientID)
	w.TextIf("userId", o.UserID)
	w.TextIf("deviceId", o.DeviceID)
	w.TextIf("reason", o.Reason)
	w.Raw("at", at)
	w.TextsIf("factors", o.Factors)
	w.TextsIf("amr", o.AMR)
	w.TextIf("acr", o.ACR)
	w.TextIf("viewHash", o.ViewHash)
	w.TextIf("dataHash", o.DataHash)
	w.TextIf("tpl", o.Tpl)
	w.TextIf("lang", o.Lang)
	w.TextIf("clientData", o.ClientData)
	if o.SCA != nil {
		o.SCA.write(w)
	}
	if o.Attestation != nil {
		w.Any("attestation", o.Attestation)
	}
	if o.Risk != nil {
		w.Any("risk", o.Risk)
	}
	w.TextIf("scope", o.Scope)
	if o.Expires != 0 {
		w.Number("expires", o.Expires)
	}
	if o.Evidence != nil {
		w.Any("evidence", o.Evidence)
	}
	return w.End()
}

func (s *SCA) write(w *wire.Object) {
	w.Open("sca")
	w.Text("pos", s.Pos)
	w.Text("kno", s.Kno)
	w.Text("inh", s.Inh)
	w.Text("uv", s.UV)
	w.Text("dsp", s.Dsp)
	w.Text("flow", s.Flow)
	w.Text("ui", s.UI)
	w.Text("enrol", s.Enrol)
	w.Number("epoch", s.Epoch)
	w.Bool("same_ip", s.SameIP)
	w.Close()
}

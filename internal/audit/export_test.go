package audit

// LinkHash lets tests do what an attacker with the source can.
var LinkHash = linkHash

// ID is the writer's id.
func (w *Writer) ID() string { return w.id }

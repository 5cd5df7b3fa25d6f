package audit

// LinkHash lets tests do what an attacker with the source can.
var LinkHash = linkHash

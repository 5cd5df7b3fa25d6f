package audit

// LinkHash lets tests do what an attacker with the source can.
var LinkHash = linkHash

// Page is how many records are read at once.
const Page = page

// Package floors_test holds the house in shape: which package may import
// which, what stays inside its fence, and the habits a compiler does not know.
package floors_test

// module is this module's path; imports below it are arrows between floors.
const module = "mobileid"

// floor is where a folder, and all below it without an entry of their own,
// stands. A package imports its own floor and lower ones; the compiler refuses
// circles. Every package must be found here: a new one is placed on purpose.
var floor = map[string]int{
	"config":          0,
	"static":          0,
	"internal/kv":     0,
	"internal/lite":   0,
	"internal/db":     0,
	"internal/keys":   0,
	"internal/egress": 0,
	"internal/fault":  0,
	"internal/clock":  0,
	"sdk/wire":        0,

	"internal/audit":       1,
	"internal/limit":       1,
	"internal/view":        1,
	"internal/outbox":      1,
	"internal/notify":      1,
	"internal/callback":    1,
	"internal/attestation": 1,
	"internal/risk":        1,
	"internal/channel":     1,
	"internal/evidence":    1,
	"internal/identity":    1,

	"internal/operation":    2,
	"internal/registration": 2,

	"flows": 3,

	"provider": 4,

	"web":       5,
	"templates": 5,

	"cmd": 6,

	// The phone stands beside the house; see only below.
	"sdk":              0,
	"sdk/vectors":      6,
	"sdk/mobile":       6,
	"sdk/keystoretest": 7,

	// Whoever drives the whole, or a part of it, from outside.
	"bench":              7,
	"test":               7,
	"internal/kv/kvtest": 7,
	"internal/db/dbtest": 7,

	"internal/evidence/tsatest":       7,
	"internal/attestation/attesttest": 7,
}

// only lists folders whose arrows inside the module are fewer than their floor
// allows: the phone shares messages with the server and nothing else, so that
// it can be built into an app.
var only = map[string][]string{
	"sdk":              {"sdk/wire"},
	"sdk/mobile":       {"sdk", "sdk/wire"},
	"sdk/keystoretest": {"sdk", "sdk/wire"},
	"sdk/wire":         {"sdk/wire"},
	"sdk/vectors":      {"sdk", "sdk/wire", "sdk/vectors"},
}

// drivers may ask the machine for time, chance and the network: they wire the
// real thing in, or stand outside.
var drivers = []string{"cmd", "bench", "test", "internal/kv/kvtest", "internal/db/dbtest", "sdk/vectors", "sdk/mobile", "sdk/keystoretest"}

// fence keeps an import inside the folders that own it.
type fence struct {
	imports string   // this path and all below it
	inside  []string // folders; none means nowhere
	tests   bool     // test files are held too
	why     string
}

var fences = []fence{
	{"github.com/ory/fosite", []string{"provider", "web"}, false, "the rest of the program speaks in our own types"},
	{"github.com/ory/fosite/storage", nil, true, "sessions in its memory store are shared pointers: two redemptions of a code at once kill the process"},
	{"github.com/go-jose/go-jose/v3", nil, true, "v4 is the one we use; v3 is fosite's"},
	{"github.com/redis/go-redis", []string{"internal/kv"}, false, "short-lived state goes through the kv contract"},
	{"database/sql", []string{"internal/db", "internal/kv", "internal/lite", "bench"}, false, "SQL has one home; the floor server of bench has nothing else"},
	{"modernc.org/sqlite", []string{"internal/db", "internal/kv", "internal/lite", "bench"}, false, "SQL has one home; the floor server of bench has nothing else"},
	{"modernc.org/libc", []string{"internal/lite"}, false, "C memory and C calls stay in one package"},
	{"github.com/jackc/pgx", []string{"internal/db", "internal/kv"}, false, "SQL has one home"},
	{"github.com/pressly/goose", []string{"internal/db"}, false, "SQL has one home"},
	{"github.com/gorilla/sessions", []string{"web"}, false, "browser sessions are the web's"},
	{"github.com/a-h/templ", []string{"templates", "web"}, false, "pages are rendered in templates"},
	{"go.opentelemetry.io", []string{"cmd"}, false, "the rooms below tell an observer of their own; cmd makes spans of it"},
	{"math/rand", drivers, false, "chance is crypto/rand, or comes in as a field"},
}

// use keeps a function or variable of a package inside folders.
type use struct {
	pkg    string
	names  []string
	inside []string
	why    string
}

var uses = []use{
	{"time", []string{"Now", "Since", "Until"}, append([]string{"internal/clock"}, drivers...), "time comes in as a clock"},
	{"net/http", []string{"DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm"}, drivers, "a client without limits reaches everywhere"},
}

// vague are package names that say nothing about what is inside.
var vague = []string{
	"util", "utils", "common", "helper", "helpers", "model", "models", "dto", "dtos",
	"service", "services", "manager", "managers", "repository", "repositories", "misc", "shared",
}

// maxLines is the length of a hand-written file that a reader can still hold.
const maxLines = 400

package operate_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"

	"github.com/knadh/koanf/parsers/yaml"
)

// scrape returns the numbers of /metrics by series, and the names and label
// names of all of them.
func scrape(t *testing.T, r *rig.Rig) (series map[string]string, names map[string]bool) {
	t.Helper()
	rec := httptest.NewRecorder()
	r.Node.Admin().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("/metrics: %d", rec.Code)
	}
	series, names = map[string]string{}, map[string]bool{}
	for line := range strings.Lines(rec.Body.String()) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		series[line[:at]] = line[at+1:]
		name, labels, _ := strings.Cut(line[:at], "{")
		names[name] = true
		for _, m := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(labels, -1) {
			names[name+"{"+m[1]] = true
		}
	}
	return series, names
}

// busy gives the server one of everything that is counted.
func busy(t *testing.T, r *rig.Rig) {
	t.Helper()
	u, p := r.Person()
	first := r.Ask(r.Backend, u)
	_, err := p.Approve(t.Context(), r.Waiting(p), rig.WrongPIN, "")
	r.Refused(err, wire.AuthFailed)
	r.Approve(p, "")
	if a := r.Poll(r.Backend, first.Text("auth_req_id")); a.Status != http.StatusOK {
		t.Fatalf("poll: %s", a.Body)
	}
	r.Ask(r.Backend, u)
	if _, err := p.Decline(t.Context(), r.Waiting(p), false); err != nil {
		t.Fatal(err)
	}
}

func TestWhatHappensIsCounted(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	busy(t, r)
	have, _ := scrape(t, r)
	for series, want := range map[string]string{
		`mobileid_operations_started_total{kind="authentication"}`:                       "2",
		`mobileid_operations_started_total{kind="registration"}`:                         "1",
		`mobileid_operations_decided_total{kind="authentication",state="COMPLETED"}`:     "1",
		`mobileid_operations_decided_total{kind="authentication",state="DECLINED"}`:      "1",
		`mobileid_operations_decided_total{kind="authentication",state="EXPIRED"}`:       "0",
		`mobileid_operations_decided_total{kind="registration",state="COMPLETED"}`:       "1",
		`mobileid_device_refusals_total{code="auth_failed"}`:                             "1",
		`mobileid_tokens_issued_total{grant="urn:openid:params:grant-type:ciba"}`:        "1",
		`mobileid_http_request_duration_seconds_count{code="2xx",route="/bc-authorize"}`: "2",
		`mobileid_kv_errors_total{call="get"}`:                                           "0",
	} {
		if have[series] != want {
			t.Errorf("%s is %q, want %s", series, have[series], want)
		}
	}
	if have["mobileid_db_commit_transactions_count"] == "" || have["mobileid_db_commit_transactions_count"] == "0" {
		t.Error("no commit was counted")
	}
}

func TestADecisionThatManyAskForIsCountedOnce(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	other := r.Registered(u)
	r.Ask(r.Backend, u)
	phones, ops := []*sdk.Phone{p, other}, []*wire.Operation{r.Waiting(p), r.Waiting(other)}
	told := rig.Count(rig.Crowd(2, func(i int) string { return rig.Answered(phones[i].Approve(t.Context(), ops[i], rig.PIN, "")) }))
	if len(told) != 2 {
		t.Fatalf("the phones were told %v", told)
	}
	have, _ := scrape(t, r)
	if got := have[`mobileid_operations_decided_total{kind="authentication",state="COMPLETED"}`]; got != "1" {
		t.Errorf("counted %s times", got)
	}
}

func TestNobodyOutsideCanMakeANewSeries(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	busy(t, r)
	strange := func(i int) {
		word := fmt.Sprintf("x%d", i)
		r.Get("/" + word)
		r.Get("/i/" + word)
		r.Get("/api/v1/" + word)
		r.Post("/token", r.Backend, url.Values{"grant_type": {word}})
		r.RPC(word)
		req, err := http.NewRequestWithContext(t.Context(), strings.ToUpper(word), r.Issuer+"/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	strange(0)
	once, _ := scrape(t, r)
	for i := range 20 {
		strange(i + 1)
	}
	again, _ := scrape(t, r)
	for s := range again {
		if _, known := once[s]; !known && strings.HasPrefix(s, "mobileid_") {
			t.Errorf("a new series: %s", s)
		}
	}
}

// readYAML decodes the file as JSON would be, by the names of the fields.
func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := yaml.Parser().Unmarshal(text)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if text, err = json.Marshal(tree); err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// expressions returns every PromQL expression of the dashboard and the alerts.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	var board struct {
		Title  string
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr, RefID string }
			GridPos struct{ X, Y, W, H int }
		}
		Templating struct{ List []struct{ Query string } }
	}
	text, err := os.ReadFile("../../deploy/grafana-dashboard.json")
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil || len(board.Panels) < 8 {
		t.Fatalf("dashboard: %d panels, %v", len(board.Panels), err)
	}
	taken := map[[2]int]string{}
	for _, p := range board.Panels {
		if p.Title == "" || p.Type == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d is not whole", p.ID)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, q := range p.Targets {
			out[p.Title+" "+q.RefID] = q.Expr
		}
	}
	for i, v := range board.Templating.List {
		if strings.HasPrefix(v.Query, "label_values(") {
			out[fmt.Sprint("variable ", i)] = v.Query
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	readYAML(t, "../../deploy/alerts.yaml", &rules)
	if len(rules.Groups) != 1 || len(rules.Groups[0].Rules) < 8 {
		t.Fatalf("alerts: %d groups", len(rules.Groups))
	}
	for _, a := range rules.Groups[0].Rules {
		if a.Alert == "" || a.Expr == "" || a.Labels["severity"] == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("alert %q is not whole", a.Alert)
		}
		out[a.Alert] = a.Expr
	}
	return out
}

var (
	metricName = regexp.MustCompile(`\b(?:mobileid|go|process)_[a-z_]+\b`)
	selector   = regexp.MustCompile(`\b((?:mobileid|go|process)_[a-z_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)(=~|!~|!=|=)"([^"]*)"`)
	grouping   = regexp.MustCompile(`by \(([a-z_, ]*)\)`)
)

func TestTheDashboardAndTheAlertsNameWhatTheServerHas(t *testing.T) {
	r := rig.Start(t, rig.Options{TLS: true})
	busy(t, r)
	series, names := scrape(t, r)
	// What Prometheus adds to every series.
	added := map[string]bool{"job": true, "instance": true}
	values := func(name, label, op, value string) bool {
		for s := range series {
			if !strings.HasPrefix(s, name+"{") {
				continue
			}
			for _, m := range matcher.FindAllStringSubmatch(s, -1) {
				if m[1] == label && (op == "=" && m[3] == value || op == "=~" && regexp.MustCompile("^(?:"+value+")$").MatchString(m[3])) {
					return true
				}
			}
		}
		return false
	}
	for where, expr := range expressions(t) {
		found := metricName.FindAllString(expr, -1)
		if len(found) == 0 && !strings.HasPrefix(expr, "up{") {
			t.Errorf("%s: names no metric: %s", where, expr)
		}
		for _, name := range found {
			if !names[name] {
				t.Errorf("%s: the server has no %s", where, name)
			}
		}
		for _, s := range selector.FindAllStringSubmatch(expr, -1) {
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				label, op, value := m[1], m[2], m[3]
				if added[label] {
					continue
				}
				if !names[s[1]+"{"+label] {
					t.Errorf("%s: %s has no label %s", where, s[1], label)
				}
				rare := label == "code" && (value == "5xx" || value == "fork") // not in a healthy run
				if strings.HasPrefix(op, "=") && !rare && !values(s[1], label, op, value) {
					t.Errorf("%s: no series matches %s{%s}", where, s[1], m[0])
				}
			}
		}
		for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
			for _, label := range strings.Split(g[1], ", ") {
				ok := added[label]
				for _, name := range found {
					ok = ok || names[name+"{"+label]
				}
				if !ok {
					t.Errorf("%s: groups by %s, which nothing in it has", where, label)
				}
			}
		}
		if open, shut := strings.Count(expr, "("), strings.Count(expr, ")"); open != shut {
			t.Errorf("%s: %d ( and %d )", where, open, shut)
		}
	}
}

func TestTheDocumentationNamesEveryMetricAndNoOther(t *testing.T) {
	r := rig.Start(t, rig.Options{TLS: true})
	busy(t, r)
	_, names := scrape(t, r)
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	base := func(name string) string {
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, end)
		}
		return name
	}
	have := map[string]bool{}
	for name := range names {
		if name, _, _ = strings.Cut(name, "{"); strings.HasPrefix(name, "mobileid_") {
			have[base(name)] = true
		}
	}
	told := map[string]bool{}
	for _, name := range metricName.FindAllString(string(text), -1) {
		if name == "mobileid_kv" { // the table
			continue
		}
		if strings.HasPrefix(name, "mobileid_") {
			told[name] = true
		}
	}
	for name := range have {
		if !told[name] {
			t.Errorf("docs/operations.md does not name %s", name)
		}
	}
	quiet := map[string]bool{"mobileid_limited_total": true} // no series until somebody is refused
	for name := range told {
		if !have[name] && !quiet[name] {
			t.Errorf("docs/operations.md names %s, which the server does not have", name)
		}
	}
}

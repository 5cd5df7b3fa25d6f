package config_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"mobileid/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with the file of that name in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func parse(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.Flags(fs)
	config.DemoFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestGoodFilesPrintAsWhatTheServerRunsWith(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("fixtures: %v, %v", files, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		t.Run(name, func(t *testing.T) {
			c, err := config.Load(config.Sources{File: f})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Redacted()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "good/"+name+".golden", got)
		})
	}
}

func TestBadFilesReportEveryFaultAtOnce(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 8 {
		t.Fatalf("fixtures: %v, %v", files, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		t.Run(name, func(t *testing.T) {
			c, err := config.Load(config.Sources{File: f})
			var faults config.Faults
			if c != nil || !errors.As(err, &faults) {
				t.Fatalf("got %v, %v; want faults", c, err)
			}
			golden(t, "bad/"+name+".golden", []byte(err.Error()+"\n"))
		})
	}
}

func TestBadEnvironmentReportsEveryFaultAtOnce(t *testing.T) {
	_, err := config.Load(config.Sources{Env: []string{
		"PATH=/bin",
		"MOBILEID_PHONE_PIN=1234",
		"MOBILEID_DB_URL=sqlite:x.db",
		"MOBILEID_LOG__LEVEL=loud",
		"MOBILEID_listen=127.0.0.1:1",
		"MOBILEID_DB=sqlite:x.db",
		"MOBILEID_TLS__CERT=cert.pem",
		"MOBILEID_TRUSTED_PROXIES=10.0.0.0/8, 10.0.0.1/8,nonsense",
		"MOBILEID_KV__URL=redis://user:s3cr3t@[::1:6379",
	}})
	if err == nil {
		t.Fatal("accepted")
	}
	if strings.Contains(err.Error(), "s3cr3t") {
		t.Error("a fault tells the password")
	}
	golden(t, "bad/environment.txt", []byte(err.Error()+"\n"))
}

func TestAFileThatIsNotThereIsOneFaultAmongTheOthers(t *testing.T) {
	_, err := config.Load(config.Sources{File: "testdata/none.yaml", Env: []string{"MOBILEID_LOG__FORMAT=xml"}})
	var faults config.Faults
	if !errors.As(err, &faults) || len(faults) != 2 || faults[0].Origin != "file testdata/none.yaml" {
		t.Fatalf("got %v", err)
	}
}

func TestLayersWinInTheirOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("log:\n  level: warn\n  format: json\ndata_dir: from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{
		Env:   []string{"MOBILEID_DATA_DIR=from-env", "MOBILEID_LOG__LEVEL=error", "MOBILEID_LISTEN="},
		Flags: parse(t, "--config", file, "--data-dir=from-flag", "--shop-listen", "127.0.0.1:0"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ what, got, want string }{
		{"the default stays where nobody says otherwise", c.AdminListen, "127.0.0.1:9090"},
		{"an empty variable counts as not given", c.Listen, "127.0.0.1:8080"},
		{"the file beats the default", c.Log.Format, "json"},
		{"the environment beats the file", c.Log.Level.String(), "ERROR"},
		{"the flag beats the environment", c.DataDir, "from-flag"},
		{"a demo flag has no section", c.Demo.ShopListen, "127.0.0.1:0"},
		{"what is derived follows the winner", c.DB.URL.Reveal(), "sqlite:from-flag/mobileid.db"},
		{"so does the embedded kv", c.KV.URL.Reveal(), "sqlite:from-flag/kv.db"},
		{"so does the master key", c.MasterKeyFile, "from-flag/master.key"},
		{"the issuer follows the listener", c.Issuer, "http://localhost:8080"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.what, tc.got, tc.want)
		}
	}
}

func TestIssuer(t *testing.T) {
	for _, tc := range []struct{ name, issuer, listen, want, problem string }{
		{name: "follows a loopback listener", listen: "127.0.0.1:8085", want: "http://localhost:8085"},
		{name: "follows an IPv6 loopback listener", listen: "[::1]:8085", want: "http://localhost:8085"},
		{name: "waits for a port that the system picks", listen: "127.0.0.1:0", want: ""},
		{name: "must be given behind another address", listen: "0.0.0.0:8080", problem: "must be given"},
		{name: "https anywhere", issuer: "https://id.example.com", listen: ":8080", want: "https://id.example.com"},
		{name: "https with a port", issuer: "https://id.example.com:8443", want: "https://id.example.com:8443"},
		{name: "http on 127.0.0.1", issuer: "http://127.0.0.1:8080", want: "http://127.0.0.1:8080"},
		{name: "http on ::1", issuer: "http://[::1]:8080", want: "http://[::1]:8080"},
		{name: "http elsewhere", issuer: "http://id.example.com", problem: "http is for loopback only"},
		{name: "http on a name that only looks local", issuer: "http://localhost.example.com", problem: "http is for loopback only"},
		{name: "another scheme", issuer: "ftp://id.example.com", problem: "must be https"},
		{name: "no scheme", issuer: "id.example.com", problem: "must be a URL"},
		{name: "no host", issuer: "https://:8080", problem: "must be a URL"},
		{name: "opaque", issuer: "https:id.example.com", problem: "must be a URL"},
		{name: "a user", issuer: "https://me@id.example.com", problem: "user or password"},
		{name: "a query", issuer: "https://id.example.com?a=b", problem: "query"},
		{name: "an empty query", issuer: "https://id.example.com?", problem: "query"},
		{name: "a fragment", issuer: "https://id.example.com#a", problem: "fragment"},
		{name: "an empty fragment", issuer: "https://id.example.com#", problem: "fragment"},
		{name: "a slash at the end", issuer: "https://id.example.com/", problem: "slash"},
		{name: "a path", issuer: "https://example.com/id", problem: "path"},
		{name: "upper case", issuer: "https://ID.example.com", problem: "lower case"},
		{name: "the default port", issuer: "https://id.example.com:443", problem: "default port"},
		{name: "an empty port", issuer: "https://id.example.com:", problem: "default port"},
		{name: "a port that is none", issuer: "https://id.example.com:99999", problem: "port from 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := []string{"MOBILEID_ISSUER=" + tc.issuer, "MOBILEID_LISTEN=" + tc.listen}
			c, err := config.Load(config.Sources{Env: env})
			if tc.problem != "" {
				var faults config.Faults
				if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Path != "issuer" || !strings.Contains(faults[0].Problem, tc.problem) {
					t.Fatalf("got %v, want one fault of issuer with %q", err, tc.problem)
				}
				return
			}
			if err != nil || c.Issuer != tc.want {
				t.Fatalf("got %+v, %v; want %q", c, err, tc.want)
			}
		})
	}
}

func TestAServerMayUseThePortOfTheShopThatItDoesNotRun(t *testing.T) {
	if _, err := config.Load(config.Sources{Env: []string{"MOBILEID_LISTEN=127.0.0.1:8081"}}); err != nil {
		t.Fatal(err)
	}
}

func TestABadDataFolderIsOneFault(t *testing.T) {
	_, err := config.Load(config.Sources{Flags: parse(t, "--data-dir", "a?b")})
	var faults config.Faults
	if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Path != "data_dir" || faults[0].Origin != "flag --data-dir" {
		t.Fatalf("got %v", err)
	}
}

func TestOnlyTheNetworksNamedAreTrusted(t *testing.T) {
	c, err := config.Load(config.Sources{Env: []string{"MOBILEID_TRUSTED_PROXIES=10.1.0.0/16,2001:db8::/32"}})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "2001:db8::1": true, "10.2.0.1": false, "127.0.0.1": false, "2001:db9::1": false,
	} {
		if got := c.Trusts(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %v, want %v", addr, got, want)
		}
	}
}

func TestNoneExemptsNobodyAndOffLimitsNothing(t *testing.T) {
	c, err := config.Load(config.Sources{Flags: parse(t, "--limits-exempt", "none", "--limits-client=off", "--limits-junk", "10/1h")})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Limits.Exempt) != 0 || c.Limits.Client != (config.Rate{}) || c.Limits.Junk != (config.Rate{Events: 10, Per: time.Hour}) {
		t.Errorf("got %+v", c.Limits)
	}
	if got := c.Limits.Junk.String(); got != "10/1h" {
		t.Errorf("prints as %s", got)
	}
	if c, err = config.Load(config.Sources{}); err != nil || len(c.Limits.Exempt) != 2 || c.Limits.Authorize.String() != "600/1m" {
		t.Errorf("the defaults: %+v, %v", c.Limits, err)
	}
}

func TestPasswordsNeverPrint(t *testing.T) {
	for _, u := range []config.StoreURL{
		"redis://:s3cr3t@redis.internal:6379/0",
		"rediss://app:s3cr3t@redis.internal:6379/0?sentinel_password=s3cr3t&db=1",
		"rediss://app:s3cr3t@redis.internal:6379?PassWord=s3cr3t",
		"redis://app:s3cr3t@[::1",
		"postgres://app:s3cr3t@db.internal/mobileid?sslmode=verify-full",
		"postgresql://app@db.internal/mobileid?password=s3cr3t&sslpassword=s3cr3t",
		"redis-sentinel://app:s3cr3t@s1:26379,s2:26379/0?master=m&sentinel_password=s3cr3t",
		"rediss-cluster://:s3cr3t@c1:6379,c2:6379,[::1]:6379",
		"redis-cluster://:s3cr3t@c1:x,c2:6379",
		"redis-cluster://u,x:s3cr3t/y@c1",
		"redis-cluster://u:1/s3cr3t@c1",
	} {
		c := &config.Config{KV: config.KV{URL: u}}
		y, err := c.Redacted()
		if err != nil {
			t.Fatal(err)
		}
		j, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "url", u, "config", c)
		for _, out := range []string{string(y), string(j), log.String(), fmt.Sprintf("%v %+v %#v %s %q", c.KV, c.KV, c.KV, u, u)} {
			if strings.Contains(out, "s3cr3t") || !strings.Contains(out, "[REDACTED]") {
				t.Errorf("%s", out)
			}
		}
		if !strings.Contains(u.Reveal(), "s3cr3t") {
			t.Error("Reveal hides it from whoever opens the store")
		}
	}
}

func TestWhatIsPrintedLoadsToTheSame(t *testing.T) {
	c, err := config.Load(config.Sources{File: "testdata/good/full.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(config.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, again, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestTheDocumentationNamesEveryKey(t *testing.T) {
	doc, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	parse(t).VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(string(doc), "`--"+f.Name+"`") {
			t.Errorf("docs/configuration.md does not name --%s", f.Name)
		}
		if def := strings.Trim(f.DefValue, "[]"); def != "" && !strings.Contains(string(doc), "`"+def+"`") {
			t.Errorf("docs/configuration.md does not tell the default of --%s, %s", f.Name, def)
		}
	})
}

func TestTheDemoIsReachedUnderItsHost(t *testing.T) {
	for _, tc := range []struct {
		name           string
		args           []string
		issuer, listen string
		problem        string
	}{
		{"without --tls the host says nothing", []string{"--host", "laptop.lan"}, "http://localhost:8080", "127.0.0.1:8080", ""},
		{"a host on the network opens the listeners", []string{"--tls", "--host", "laptop.lan"}, "https://laptop.lan:8080", ":8080", ""},
		{"but not one that was given", []string{"--tls", "--host", "192.0.2.7", "--listen", "192.0.2.7:443"}, "https://192.0.2.7", "192.0.2.7:443", ""},
		{"localhost stays on loopback", []string{"--tls"}, "https://localhost:8080", "127.0.0.1:8080", ""},
		{"an IPv6 address gets its brackets", []string{"--tls", "--host", "2001:db8::1"}, "https://[2001:db8::1]:8080", ":8080", ""},
		{"a free port waits for its listener", []string{"--tls", "--host", "laptop.lan", "--listen", ":0"}, "", ":0", ""},
		{"a port in the host", []string{"--tls", "--host", "laptop.lan:443"}, "", "", "demo.host"},
		{"a host in upper case", []string{"--tls", "--host", "Laptop"}, "", "", "demo.host"},
		{"an issuer besides", []string{"--tls", "--issuer", "https://id.example.com"}, "", "", "issuer"},
		{"a certificate besides", []string{"--tls", "--tls-cert", "c", "--tls-key", "k"}, "", "", "demo.tls"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := config.Load(config.Sources{Flags: parse(t, tc.args...), Demo: true})
			if tc.problem != "" {
				var faults config.Faults
				if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Path != tc.problem {
					t.Fatalf("got %v, want one fault of %s", err, tc.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Issuer != tc.issuer || c.Listen != tc.listen {
				t.Errorf("issuer %q, listen %q; want %q, %q", c.Issuer, c.Listen, tc.issuer, tc.listen)
			}
		})
	}
}

func TestAServerPaysNoHeedToTheDemosTLS(t *testing.T) {
	c, err := config.Load(config.Sources{Env: []string{"MOBILEID_DEMO__TLS=true", "MOBILEID_DEMO__HOST=laptop.lan"}})
	if err != nil || c.Issuer != "http://localhost:8080" || c.Listen != "127.0.0.1:8080" {
		t.Fatalf("got %+v, %v", c, err)
	}
}

func TestTheURLsOfSeveralRedisNodes(t *testing.T) {
	for _, tt := range []struct{ url, says string }{
		{"redis-sentinel://s1:26379,s2:26379/3?master=mobileid", ""},
		{"rediss-sentinel://app:pw@s1,s2?master=mobileid&sentinel_password=pw", ""},
		{"redis-cluster://c1:6379,c2:6379", ""},
		{"rediss-cluster://app:pw@[::1]:6379,c2/0", ""},
		{"redis-sentinel://s1:26379,s2:26379/3", "what the Sentinels call the master"},
		{"redis-sentinel://s1:26379,s2:26379/zero?master=m", "database number"},
		{"redis-sentinel://?master=m", "HOST:PORT,HOST:PORT/NUMBER?master=NAME"},
		{"redis-cluster://c1:6379,c2:6379/1", "0 only"},
		{"redis-cluster://c1:6379,,c2:6379", "must be redis-cluster://HOST:PORT,HOST:PORT"},
		{"redis-cluster://c1:x,c2:6379", "HOST:PORT"},
		{"redis-cluster://c1,c2:99999", "HOST:PORT"},
		{"redis-ring://c1:6379", "must be sqlite:PATH"},
	} {
		_, err := config.Load(config.Sources{Flags: parse(t, "--kv-url", tt.url)})
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.says)
		}
	}
}

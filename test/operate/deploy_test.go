package operate_test

import (
	"errors"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mobileid/config"
	"mobileid/test/program"
)

// plainImage is an image by its name alone: no registry, no path.
var plainImage = regexp.MustCompile(`^[a-z0-9]+(:[a-z0-9.]+)?$`)

// instruction is one line of a Dockerfile.
type instruction struct{ word, rest string }

func dockerfile(t *testing.T) []instruction {
	t.Helper()
	text, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var out []instruction
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		out = append(out, instruction{word, rest})
	}
	return out
}

// image is what the Dockerfile's last stage says.
type image struct {
	env          map[string]string
	ports        []string
	user, volume string
	entry, cmd   string
}

func built(t *testing.T) image {
	t.Helper()
	im := image{env: map[string]string{}}
	all := dockerfile(t)
	last := 0
	for i, in := range all {
		if in.word == "FROM" {
			last = i
		}
	}
	for _, in := range all[last+1:] {
		switch in.word {
		case "ENV":
			k, v, _ := strings.Cut(in.rest, "=")
			im.env[k] = v
		case "EXPOSE":
			im.ports = strings.Fields(in.rest)
		case "USER":
			im.user = in.rest
		case "VOLUME":
			im.volume = in.rest
		case "ENTRYPOINT":
			im.entry = in.rest
		case "CMD":
			im.cmd = in.rest
		case "COPY", "STOPSIGNAL":
		default:
			t.Errorf("Dockerfile: %s is not expected in the last stage", in.word)
		}
	}
	return im
}

func TestTheDockerfileBuildsWhatItSays(t *testing.T) {
	var froms, copied []string
	built := built(t)
	for _, in := range dockerfile(t) {
		switch in.word {
		case "FROM":
			name, _, _ := strings.Cut(in.rest, " ")
			froms = append(froms, name)
			if !plainImage.MatchString(name) {
				t.Errorf("FROM %s is not a plain image name", name)
			}
		case "RUN":
			if strings.Contains(in.rest, "go build") {
				target := in.rest[strings.LastIndex(in.rest, " ")+1:]
				if _, err := os.Stat(filepath.Join("../..", target, "main.go")); err != nil || !strings.Contains(in.rest, "CGO_ENABLED=0") {
					t.Errorf("RUN %s: %v", in.rest, err)
				}
			}
		case "COPY":
			copied = append(copied, in.rest)
			if f := strings.Fields(in.rest); !strings.HasPrefix(in.rest, "--from") && f[0] != "." {
				for _, name := range f[:len(f)-1] {
					if _, err := os.Stat(filepath.Join("../..", name)); err != nil {
						t.Errorf("COPY %s: %v", in.rest, err)
					}
				}
			}
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if want := []string{"golang:" + string(version[1]), "scratch"}; !slices.Equal(froms, want) {
		t.Errorf("stages from %v, want %v", froms, want)
	}
	if built.entry != `["/mobileid"]` || built.cmd != `["serve"]` || !slices.Contains(copied, "--from=build /out/mobileid /mobileid") {
		t.Errorf("runs %s %s", built.entry, built.cmd)
	}
	if !regexp.MustCompile(`^[1-9]\d+:[1-9]\d+$`).MatchString(built.user) {
		t.Errorf("runs as %q, want numbers that are not root's", built.user)
	}
	if built.volume != built.env["MOBILEID_DATA_DIR"] || !slices.ContainsFunc(copied, func(c string) bool {
		return strings.Contains(c, "--chown="+built.user) && strings.HasSuffix(c, " "+built.volume)
	}) {
		t.Errorf("the data folder %s is not the volume %s of user %s", built.env["MOBILEID_DATA_DIR"], built.volume, built.user)
	}
	c := loaded(t, built.env, map[string]string{"MOBILEID_ISSUER": "https://id.example.com"})
	if got := ports(t, c); !slices.Equal(built.ports, got) {
		t.Errorf("exposes %v, listens on %v", built.ports, got)
	}
	// Without an issuer it says so instead of starting.
	if _, err := config.Load(config.Sources{Env: environ(built.env)}); err == nil || !strings.Contains(err.Error(), "issuer: must be given") {
		t.Errorf("without an issuer: %v", err)
	}
}

func environ(env map[string]string) []string {
	var out []string
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

// loaded is the configuration of the layers of environment, which must be
// without a fault.
func loaded(t *testing.T, layers ...map[string]string) *config.Config {
	t.Helper()
	all := map[string]string{}
	for _, l := range layers {
		maps.Copy(all, l)
	}
	c, err := config.Load(config.Sources{Env: environ(all)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ports(t *testing.T, c *config.Config) []string {
	t.Helper()
	var out []string
	for _, addr := range []string{c.Listen, c.AdminListen} {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, port)
	}
	return out
}

func TestTheComposeFileRunsTheImageAsItIs(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Image       string
			Build       struct{ Context, Dockerfile string }
			Command     []string
			Environment map[string]string
			Ports       []string
			Volumes     []string
			DependsOn   []string `json:"depends_on"`
			User        string
			ReadOnly    bool     `json:"read_only"`
			CapDrop     []string `json:"cap_drop"`
		}
		Volumes map[string]any
	}
	readYAML(t, "../../deploy/compose.yaml", &file)
	im := built(t)
	s := file.Services["mobileid"]
	if _, err := os.Stat(filepath.Join("../../deploy", s.Build.Context, s.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	env := map[string]string{}
	for k, v := range s.Environment {
		if strings.HasPrefix(v, "${"+k+":") { // comes from outside, under its own name
			v = map[string]string{"MOBILEID_ISSUER": "https://id.example.com", "MOBILEID_TRUSTED_PROXIES": "172.18.0.0/16"}[k]
		}
		env[k] = v
	}
	c := loaded(t, im.env, env)
	var published []string
	for _, p := range s.Ports {
		host, inside, _ := strings.Cut(strings.TrimPrefix(p, "127.0.0.1:"), ":")
		if !strings.HasPrefix(p, "127.0.0.1:") || host != inside {
			t.Errorf("publishes %s, not on loopback", p)
		}
		published = append(published, inside)
	}
	if got := ports(t, c); !slices.Equal(published, got) || !slices.Equal(published, im.ports) {
		t.Errorf("publishes %v, listens on %v, the image exposes %v", published, got, im.ports)
	}
	if name, path, _ := strings.Cut(s.Volumes[0], ":"); path != im.volume || !slices.Contains(slices.Collect(maps.Keys(file.Volumes)), name) {
		t.Errorf("mounts %v, the data is in %s", s.Volumes, im.volume)
	}
	if !s.ReadOnly || s.User != "" && strings.HasPrefix(s.User, "0") {
		t.Error("the container may write elsewhere, or is root")
	}
	for name, svc := range file.Services {
		if !plainImage.MatchString(svc.Image) {
			t.Errorf("%s: %s is not a plain image name", name, svc.Image)
		}
		if !slices.Equal(svc.CapDrop, []string{"ALL"}) {
			t.Errorf("%s keeps capabilities", name)
		}
		for _, on := range svc.DependsOn {
			if _, ok := file.Services[on]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, on)
			}
		}
	}
	if !strings.HasPrefix(c.KV.URL.Reveal(), "redis://redis:") || file.Services["redis"].Command[0] != "redis-server" ||
		!slices.Contains(file.Services["redis"].Command, "noeviction") {
		t.Errorf("the short-lived store is %s", c.KV.URL)
	}
	commandExists(t, s.Command)
}

// commandExists holds a command line of the program against what it has.
func commandExists(t *testing.T, args []string) {
	t.Helper()
	out, err := exec.Command(binary, args[0], "--help").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "mobileid "+args[0]) {
		t.Fatalf("mobileid has no command %s: %v %s", args[0], err, out)
	}
	for _, a := range args[1:] {
		if flag, _, _ := strings.Cut(a, "="); strings.HasPrefix(flag, "--") && !strings.Contains(string(out), "  "+flag+" ") {
			t.Errorf("mobileid %s has no flag %s", args[0], flag)
		}
	}
}

func TestTheUnitStartsTheProgramWithTheSampleConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../deploy/mobileid.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		default:
			k, v, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("no setting: %s", line)
			}
			unit[section+"."+k] = append(unit[section+"."+k], v)
		}
	}
	for _, run := range append(unit["Service.ExecStart"], unit["Service.ExecStartPre"]...) {
		args := strings.Fields(run)
		if args[0] != "/usr/local/bin/mobileid" {
			t.Errorf("starts %s", args[0])
		}
		commandExists(t, args[1:])
		if !strings.HasSuffix(run, "--config /etc/mobileid/mobileid.yaml") {
			t.Errorf("%s: not the configuration that the documentation names", run)
		}
	}
	c, err := config.Load(config.Sources{File: "../../deploy/mobileid.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "/var/lib/" + unit["Service.StateDirectory"][0]; c.DataDir != want || filepath.Dir(c.MasterKeyFile) != want {
		t.Errorf("the data folder is %s, the unit may write to %s", c.DataDir, want)
	}
	for k, want := range map[string]string{"User": "mobileid", "StateDirectoryMode": "0700", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
		"CapabilityBoundingSet": "CAP_NET_BIND_SERVICE", "TimeoutStopSec": "30", "LimitCORE": "0"} {
		if got := strings.Join(unit["Service."+k], " "); got != want {
			t.Errorf("%s=%s, want %s", k, got, want)
		}
	}
	// What is commented out in the sample is right too.
	sample, err := os.ReadFile("../../deploy/mobileid.yaml")
	if err != nil {
		t.Fatal(err)
	}
	secure := regexp.MustCompile(`(?m)^# (listen|tls|  cert|  key):`).ReplaceAllString(strings.Replace(string(sample), "\nlisten:", "\n# was:", 1), "$1:")
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(secure), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := config.Load(config.Sources{File: file}); err != nil || c.Listen != ":443" || !c.TLS.On() {
		t.Errorf("with TLS: %v", err)
	}
	// systemd's own opinion, where it is installed.
	if tool, err := exec.LookPath("systemd-analyze"); err == nil {
		out, err := exec.Command(tool, "verify", "--man=no", "../../deploy/mobileid.service").CombinedOutput()
		if bad := regexp.MustCompile(`(?i)(unknown|failed to parse|invalid)[^\n]*`).Find(out); bad != nil {
			t.Errorf("systemd-analyze: %s (%v)", bad, err)
		}
	}
}

func TestAContainerThatIsStoppedDrains(t *testing.T) {
	s := program.Start(t, binary, t.TempDir(), "MOBILEID_LOG__FORMAT=json")
	if err := s.Stop(); err != nil { // SIGTERM, as docker and systemd send it
		t.Fatal(errors.Join(err, errors.New(s.Log())))
	}
	if !strings.Contains(s.Log(), `"msg":"draining"`) {
		t.Errorf("no drain:\n%s", s.Log())
	}
}

package config

import (
	"fmt"
	"net"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// byDefault is the origin of what nobody gave.
const byDefault = "default"

// loader collects the layers in one koanf and remembers where each value came
// from. Every layer is sorted into known and unknown before it is merged, so
// that the merged tree holds known keys only.
type loader struct {
	k      *koanf.Koanf
	byPath map[string]key
	origin map[string]string
	faulty map[string]bool // keys whose value could not be read; not checked further
	faults Faults
	demo   bool
}

func newLoader(demo bool) *loader {
	l := &loader{
		demo:   demo,
		k:      koanf.New("."),
		byPath: make(map[string]key, len(keys)),
		origin: make(map[string]string, len(keys)),
		faulty: make(map[string]bool),
	}
	for _, k := range keys {
		l.byPath[k.path] = k
		switch {
		case k.def == "":
		case k.list:
			l.set(k.path, splitList(k.def), byDefault)
		default:
			l.set(k.path, k.def, byDefault)
		}
	}
	return l
}

func (l *loader) fault(path, origin, format string, args ...any) {
	l.faults = append(l.faults, Fault{Path: path, Problem: fmt.Sprintf(format, args...), Origin: origin})
	l.faulty[path] = true
}

// set puts a value in and notes its origin. Empty values count as not given,
// in every layer: `listen:` in a file, MOBILEID_LISTEN= in an environment.
func (l *loader) set(path string, v any, origin string) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return
		}
	case []string:
		if len(v) == 0 {
			return
		}
	}
	if err := l.k.Set(path, v); err != nil {
		l.fault(path, origin, "cannot be used: %v", err)
		return
	}
	l.origin[path] = origin
}

// readFile takes in the YAML file at path; without a path there is none.
func (l *loader) readFile(path string) {
	if path == "" {
		return
	}
	origin := "file " + path
	doc := koanf.New("\x00") // a delimiter no key has, so that dots in names are seen as they are
	if err := doc.Load(file.Provider(path), yaml.Parser()); err != nil {
		l.fault("", origin, "cannot be read: %s", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	l.walk("", doc.Raw(), origin)
}

func (l *loader) walk(prefix string, node map[string]any, origin string) {
	names := make([]string, 0, len(node))
	for name := range node {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		v := node[name]
		if strings.Contains(name, ".") {
			l.fault(prefix+name, origin, "unknown key; levels are nested, not joined by dots")
			continue
		}
		path := prefix + name
		if k, ok := l.byPath[path]; ok {
			l.setFromFile(k, v, origin)
			continue
		}
		if !l.isSection(path) {
			l.unknown(path, origin)
			continue
		}
		switch v := v.(type) {
		case nil: // a section whose keys are all commented out
		case map[string]any:
			l.walk(path+".", v, origin)
		default:
			l.fault(path, origin, "is a section and needs keys below it")
		}
	}
}

func (l *loader) setFromFile(k key, v any, origin string) {
	if v == nil {
		return
	}
	if yes, ok := v.(bool); ok && k.yes {
		v = strconv.FormatBool(yes)
	}
	if !k.list {
		s, ok := v.(string)
		if !ok {
			l.fault(k.path, origin, "must be text; put it in quotes")
			return
		}
		l.set(k.path, s, origin)
		return
	}
	items, ok := v.([]any)
	if !ok {
		l.fault(k.path, origin, "must be a list")
		return
	}
	list := make([]string, 0, len(items))
	for i, item := range items {
		s, ok := item.(string)
		if !ok {
			l.fault(fmt.Sprintf("%s[%d]", k.path, i), origin, "must be text; put it in quotes")
			l.faulty[k.path] = true
			continue
		}
		list = append(list, s)
	}
	l.set(k.path, list, origin)
}

func (l *loader) isSection(path string) bool {
	for _, k := range keys {
		if strings.HasPrefix(k.path, path+".") {
			return true
		}
	}
	return false
}

func (l *loader) unknown(path, origin string) {
	if k, ok := suggest(path); ok {
		l.fault(path, origin, "unknown key; did you mean %s?", k.path)
		return
	}
	l.fault(path, origin, "unknown key")
}

// readEnv takes in every variable with our prefix. A name that no key has is a
// fault: a typing error must not silently leave a default in force.
func (l *loader) readEnv(environ []string) {
	byEnv := make(map[string]key, len(keys))
	for _, k := range keys {
		byEnv[k.env()] = k
	}
	provider := env.Provider("", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			k, known := byEnv[name]
			origin := "environment " + name
			switch {
			case foreignEnv[name]:
			case known && k.list:
				l.set(k.path, splitList(value), origin)
			case known:
				l.set(k.path, value, origin)
			default:
				l.unknownEnv(name, origin)
			}
			return "", nil
		},
	})
	if _, err := provider.Read(); err != nil {
		l.fault("", "environment", "cannot be read: %v", err)
	}
}

func (l *loader) unknownEnv(name, origin string) {
	path := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "__", "."))
	if k, ok := suggest(path); ok {
		l.fault(path, origin, "unknown key; did you mean %s?", k.env())
		return
	}
	l.fault(path, origin, "unknown key")
}

func splitList(s string) []string {
	var out []string
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// readFlags takes in the flags that were set on the command line.
func (l *loader) readFlags(fs *pflag.FlagSet) {
	if fs == nil {
		return
	}
	byFlag := make(map[string]key, len(keys))
	for _, k := range keys {
		byFlag[k.flag()] = k
	}
	provider := posflag.ProviderWithFlag(fs, "", l.k, func(f *pflag.Flag) (string, any) {
		if k, ok := byFlag[f.Name]; ok && f.Changed {
			origin := "flag --" + f.Name
			if list, ok := posflag.FlagVal(fs, f).([]string); ok && k.list {
				l.set(k.path, list, origin)
			} else {
				l.set(k.path, f.Value.String(), origin)
			}
		}
		return "", nil
	})
	if _, err := provider.Read(); err != nil {
		l.fault("", "flags", "cannot be read: %v", err)
	}
}

// derive fills in what follows from other keys.
func (l *loader) derive() {
	dir := l.k.String("data_dir")
	l.verify("data_dir", plainPath(dir))
	if db := l.k.String("db.url"); isPostgres(db) && !l.k.Exists("kv.url") {
		l.set("kv.url", db, "derived from db.url")
		l.faulty["kv.url"] = true // whatever is wrong with it is told once
	}
	for path, value := range map[string]string{
		"db.url":            "sqlite:" + filepath.Join(dir, "mobileid.db"),
		"kv.url":            "sqlite:" + filepath.Join(dir, "kv.db"),
		"master_key_file":   filepath.Join(dir, "master.key"),
		"audit.anchor_file": filepath.Join(dir, "audit-anchors.log"),
	} {
		if !l.k.Exists(path) {
			l.set(path, value, "derived from data_dir")
			l.faulty[path] = l.faulty[path] || l.faulty["data_dir"]
		}
	}
	l.reachable()
}

// reachable opens the demo's listeners to the network where it is to be reached
// under a name that other machines know, and they were not given.
func (l *loader) reachable() {
	if !l.demo || l.k.String("demo.tls") != "true" || isLoopback(l.k.String("demo.host")) {
		return
	}
	for _, path := range []string{"listen", "demo.shop_listen", "demo.ca_listen"} {
		if _, port, err := net.SplitHostPort(l.k.String(path)); err == nil && l.origin[path] == byDefault {
			l.set(path, ":"+port, byDefault)
		}
	}
}

package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxRisk bounds a risk statement in bytes.
const MaxRisk = 2048

// Findings about a phone at run time.
const (
	FindingRooted        = "rooted"           // rooted or jailbroken
	FindingEmulator      = "emulator"         // no phone, or a virtual one
	FindingDebugger      = "debugger"         // a debugger is attached
	FindingHooking       = "hooking"          // code of the app is replaced as it runs
	FindingTampered      = "tampered"         // the app is not as its maker signed it
	FindingInstaller     = "untrusted_source" // the app was not installed by a store
	FindingCloned        = "cloned_app"       // the app runs in another's space
	FindingMalware       = "malware"          // an app that is known to be harmful
	FindingOverlay       = "overlay"          // another app draws over this one
	FindingCapture       = "screen_capture"   // the screen is recorded or shared
	FindingRemote        = "remote_control"   // somebody else operates the phone
	FindingAccessibility = "accessibility"    // an app reads and operates others as an accessibility service
	FindingKeyboard      = "keyboard"         // a keyboard that is not the system's
	FindingDeveloper     = "developer_mode"   // developer options or a debugging bridge are on
	FindingMockLocation  = "mock_location"    // the position is made up
	FindingVPN           = "vpn"              // traffic goes by a VPN
	FindingProxy         = "proxy"            // traffic goes by a proxy
	FindingNoLock        = "no_screen_lock"   // anybody who holds the phone can use it
	FindingOutdated      = "outdated_os"      // the system no longer gets, or lacks, security updates
)

// Findings lists the vocabulary, in the order in which docs/risk.md has it.
func Findings() []string {
	return []string{FindingRooted, FindingEmulator, FindingDebugger, FindingHooking, FindingTampered, FindingInstaller, FindingCloned,
		FindingMalware, FindingOverlay, FindingCapture, FindingRemote, FindingAccessibility, FindingKeyboard, FindingDeveloper,
		FindingMockLocation, FindingVPN, FindingProxy, FindingNoLock, FindingOutdated}
}

// Where a phone has the country from.
const (
	CountryNetwork  = "network"  // the mobile network that it is in
	CountryPosition = "position" // its position
)

// Risk is what an app found out about the phone that it runs on. It is the phone's
// own word: whoever owns the app's code can have it say anything.
type Risk struct {
	Platform      string   `json:"platform,omitempty"`       // "cli", "android", "ios", "web"
	OS            string   `json:"os,omitempty"`             // version of the system
	App           string   `json:"app,omitempty"`            // version of the app
	Model         string   `json:"model,omitempty"`          // label
	Findings      []string `json:"findings"`                 // of Findings, each once; none: looked, and found nothing
	Country       string   `json:"country,omitempty"`        // where the phone is: ISO 3166-1 alpha-2
	CountrySource string   `json:"country_source,omitempty"` // CountryNetwork or CountryPosition; with Country
	At            int64    `json:"at"`                       // when it looked, server's time, seconds since 1970
}

// Bytes writes the statement, once: these bytes are sent, hashed and kept. It fails
// if ParseRisk would.
func (r Risk) Bytes() ([]byte, error) {
	if r.Findings == nil {
		r.Findings = []string{}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	out := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	_, err := ParseRisk(out)
	return out, err
}

// RiskHash is hr of an answer: b64 SHA-256 of the statement's bytes; "" of none.
func RiskHash(statement []byte) string {
	if len(statement) == 0 {
		return ""
	}
	sum := sha256.Sum256(statement)
	return Encode(sum[:])
}

// ParseRisk reads a statement. Members that are not known are refused: it goes into
// evidence as it is.
func ParseRisk(statement []byte) (*Risk, error) {
	if len(statement) > MaxRisk {
		return nil, fmt.Errorf("risk: more than %d bytes", MaxRisk)
	}
	var r Risk
	fields := map[string]any{"platform": &r.Platform, "os": &r.OS, "app": &r.App, "model": &r.Model, "findings": &r.Findings,
		"country": &r.Country, "country_source": &r.CountrySource, "at": &r.At}
	err := object(statement, func(name, value []byte) error {
		into, ok := fields[string(name)]
		if !ok || string(value) == "null" {
			return fmt.Errorf("risk: %s is not a member", name)
		}
		return json.Unmarshal(value, into)
	})
	if err != nil {
		return nil, err
	}
	return &r, r.check()
}

func (r *Risk) check() error {
	for name, l := range map[string]struct {
		text string
		most int
	}{"platform": {r.Platform, 32}, "os": {r.OS, 64}, "app": {r.App, 64}, "model": {r.Model, 64}} {
		if len(l.text) > l.most || l.text != "" && CheckText(l.text) != nil {
			return fmt.Errorf("risk: %s is %d bytes of plain text at most", name, l.most)
		}
	}
	if r.Findings == nil {
		return errors.New("risk: findings are missing")
	}
	for i, f := range r.Findings {
		if !slices.Contains(Findings(), f) || slices.Contains(r.Findings[:i], f) {
			return errors.New("risk: a finding is unknown or there twice")
		}
	}
	switch {
	case r.At <= 0:
		return errors.New("risk: at is missing")
	case r.Country == "" && r.CountrySource == "":
		return nil
	case !Country(r.Country):
		return errors.New("risk: country is not an ISO 3166-1 alpha-2 code")
	case r.CountrySource != CountryNetwork && r.CountrySource != CountryPosition:
		return errors.New("risk: country_source is network or position")
	}
	return nil
}

// countries are the officially assigned codes of ISO 3166-1 alpha-2.
const countries = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR " +
	"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP " +
	"KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ " +
	"NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW " +
	"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
	"UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"

// Country reports whether code is an officially assigned ISO 3166-1 alpha-2 code.
func Country(code string) bool {
	return len(code) == 2 && code[0] != ' ' && code[1] != ' ' && strings.Contains(countries, code)
}

package templates

import (
	"reflect"
	"slices"
	"testing"

	"mobileid/internal/view"
)

// words are all texts of a value by their path.
func words(v reflect.Value, path string, into map[string]string) {
	switch v.Kind() {
	case reflect.Pointer:
		words(v.Elem(), path, into)
	case reflect.Struct:
		for i := range v.NumField() {
			words(v.Field(i), path+"."+v.Type().Field(i).Name, into)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			words(v.MapIndex(k), path+"."+k.String(), into)
		}
	case reflect.Slice:
	default:
		into[path] = v.String()
	}
}

func TestEveryTextThatUsersReadIsThereInEachLanguage(t *testing.T) {
	// What is the same word in both languages, or no word.
	same := []string{".brand"}
	for _, lang := range view.Languages() {
		x, en := speak(lang), english()
		if x.lang != lang {
			t.Errorf("%s speaks %s", lang, x.lang)
		}
		for section, pair := range map[string][2]any{"interaction": {x.interaction, en.interaction}, "consent": {x.consent, en.consent}, "logout": {x.logout, en.logout}, "loggedOut": {x.loggedOut, en.loggedOut},
			"": {[]string{}, []string{}}} {
			have, want := map[string]string{}, map[string]string{}
			if section == "" {
				all, allEN := reflect.ValueOf(*x), reflect.ValueOf(*en)
				for _, f := range []string{"brand", "brandNote", "requestID", "skip", "continueTo", "tryAgain", "cancel", "checkNow", "noScript", "offline", "timeLeft", "endsSoon"} {
					have["."+f], want["."+f] = all.FieldByName(f).String(), allEN.FieldByName(f).String()
				}
			} else {
				words(reflect.ValueOf(pair[0]), section, have)
				words(reflect.ValueOf(pair[1]), section, want)
			}
			if len(have) != len(want) {
				t.Errorf("%s: %s has %d texts, English %d", lang, section, len(have), len(want))
			}
			for path, english := range want {
				switch {
				case have[path] == "":
					t.Errorf("%s: %s is missing", lang, path)
				case lang != "en" && have[path] == english && !slices.Contains(same, path):
					t.Errorf("%s: %s is English: %q", lang, path, english)
				}
			}
		}
	}
	if speak("de-AT") != english() || speak("") != english() {
		t.Error("another tag than those of view.Languages is not English")
	}
}

func TestABrowserIsNamedInThePagesLanguage(t *testing.T) {
	for name, want := range map[string]string{"Firefox on Linux": "Firefox unter Linux", "a browser on Mac": "einem Browser unter Mac", "Firefox": "Firefox", "an unknown browser": "einem unbekannten Browser"} {
		if got := german().interaction.browser(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
		if got := english().interaction.browser(name); got != name {
			t.Errorf("%q is %q in English", name, got)
		}
	}
}

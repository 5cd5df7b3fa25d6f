package provider

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// maxBody bounds the body of every protocol request.
const maxBody = 64 << 10

// usualBody is how long most bodies are at most.
const usualBody = 4 << 10

// readForm reads the body of a POST to the token, backchannel or userinfo
// endpoint, before fosite sees anything of it: fosite takes the first of
// repeated parameters, answers 400 to a GET and reads bodies of any size.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &protocolError{status: http.StatusMethodNotAllowed, code: codeInvalidRequest, description: "the method must be POST"}
	}
	if r.URL.RawQuery != "" {
		// RFC 6749 section 2.3.1: parameters, the secret above all, never go in the URI.
		return nil, refuse(codeInvalidRequest, "parameters must be sent in the body, not in the URL")
	}
	form, err := readBody(r)
	if err != nil {
		return nil, err
	}
	if name := repeated(form); name != "" {
		return nil, refuse(codeInvalidRequest, name+" is given more than once")
	}
	return withoutEmpty(form), nil
}

// readBody reads the form in the body, whatever is in it.
func readBody(r *http.Request) (url.Values, error) {
	if kind := r.Header.Get("Content-Type"); kind != "application/x-www-form-urlencoded" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/x-www-form-urlencoded" {
			return nil, refuse(codeInvalidRequest, "Content-Type must be application/x-www-form-urlencoded")
		}
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, &protocolError{status: http.StatusUnsupportedMediaType, code: codeInvalidRequest, description: "an encoded body is not accepted"}
	}
	if r.ContentLength > maxBody {
		return nil, errTooLarge()
	}
	text, err := readAll(r)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errTooLarge() // by whoever serves us, who bounds every body
	}
	if err != nil {
		return nil, &protocolError{http.StatusBadRequest, codeInvalidRequest, "the body cannot be read", err}
	}
	if len(text) > maxBody {
		return nil, errTooLarge()
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return nil, refuse(codeInvalidRequest, "the body is not a well-formed form")
	}
	return form, nil
}

// readAll reads the body, or as much of it as shows that it is too long.
func readAll(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > usualBody { // no memory for what is only announced
		return io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	}
	text := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, text)
	return text, err
}

func errTooLarge() error {
	return &protocolError{status: http.StatusRequestEntityTooLarge, code: codeInvalidRequest, description: "the body may have 64 KiB at most"}
}

// repeated names a parameter that is there twice (RFC 6749 section 3.1: must
// not be), the first in the alphabet if there are several; "" if none is.
func repeated(form url.Values) string {
	name := ""
	for k, v := range form {
		if len(v) > 1 && (name == "" || k < name) {
			name = k
		}
	}
	return name
}

// withoutEmpty drops parameters without a value, which count as omitted
// (RFC 6749 section 3.1).
func withoutEmpty(form url.Values) url.Values {
	for k, v := range form {
		if v[0] == "" {
			delete(form, k)
		}
	}
	return form
}

// words splits a space-delimited list, dropping repetitions.
func words(s string) []string {
	var out []string
	for w := range strings.SplitSeq(s, " ") {
		if w != "" && !contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

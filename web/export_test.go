package web

// KeyName and RequestName are how a request under an Idempotency-Key is known to SQL.
func KeyName(key string) string { return hashOf(key) }

// RequestName is the name of what it asks for.
func RequestName(method, path, body string) string {
	return hashOf(method+" "+apiBase+path, apiBase+path, body)
}

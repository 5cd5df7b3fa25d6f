// Package api is the contract of the REST API: openapi.yaml, which is the truth,
// and what is generated from it.
package api

import _ "embed"

// Spec is the contract, OpenAPI 3.1, as it is served.
//
//go:embed openapi.yaml
var Spec []byte

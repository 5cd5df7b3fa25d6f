package kv_test

// childMain runs this binary as the child of a test, if it is one.
func childMain() bool { return false }

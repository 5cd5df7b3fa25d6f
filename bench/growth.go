package main

import (
	"context"
	"io"
)

func growth(ctx context.Context, o options, name, bin, dir string, to io.Writer) error { return nil }

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// WithCommit returns a configuration whose stores commit by a function of a test.
func WithCommit(c Config, commit func(context.Context, pgx.Tx) error) Config {
	c.commit = commit
	return c
}

// Waiting returns how many callers' work of a store has not begun.
func Waiting(t *Trust) int { return t.commits.Waiting() }

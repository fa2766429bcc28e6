package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// tables describes how much disk the largest tables take, with their indexes.
func (e *env) tables(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, e.server.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)

	rows, err := conn.Query(ctx, "select relname::text, pg_total_relation_size(c.oid) from pg_class c "+
		"join pg_namespace n on n.oid = relnamespace where nspname = 'fhir' and relkind = 'r' order by 2 desc")
	if err != nil {
		return "", err
	}
	defer rows.Close()

	var parts []string
	sum := int64(0)
	for rows.Next() {
		var name string
		var bytes int64
		if err := rows.Scan(&name, &bytes); err != nil {
			return "", err
		}
		sum += bytes
		if len(parts) < 4 {
			parts = append(parts, fmt.Sprintf("%s %d", name, bytes>>20))
		}
	}
	return fmt.Sprintf("%d MB (%s)", sum>>20, strings.Join(parts, ", ")), rows.Err()
}

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A backup of a database whose audit record is not whole is made, and is said not to be.
func TestBackupOfAnAlteredAuditRecord(t *testing.T) {
	w := newEnv(t)
	files, database := config(t, w), filepath.Join(w.Dir, "database.yaml")
	url := onDatabase(t, w, database)
	w.Start(w.Listen()).Stop()

	one, two := filepath.Join(w.Dir, "one"), filepath.Join(w.Dir, "two")
	for _, args := range [][]string{
		{"backup", "-config", files, "-to", one},
		{"restore", "-config", database, "-from", one, "-yes"},
	} {
		if code, _, stderr := runIt(args...); code != 0 {
			t.Fatalf("%v: exit code %d\n%s", args, code, stderr)
		}
	}

	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "update fhir.chain set head_sequence = head_sequence + 1"); err != nil {
		t.Fatal(err)
	}

	code, _, stderr := runIt("backup", "-config", database, "-to", two)
	if code != 0 || !strings.Contains(stderr, "warning: the audit record that was copied: chain east, record") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if code, stdout, _ := runIt("audit", "verify", "-config", files, "-from", two); code != 1 {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

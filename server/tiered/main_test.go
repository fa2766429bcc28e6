package tiered_test

import (
	"testing"

	"fhirdest.example/server/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

package board_test

import (
	"testing"
)

func TestPictures(t *testing.T) {
	e := newEnv(t)
	e.fill()
	b := e.chromium()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1440, 390} {
			b.Look(width, map[int64]int64{1440: 900, 390: 844}[width], scheme)
			for name, path := range map[string]string{"home": "", "board": sessionID + "/", "exchange": sessionID + "/x/2", "rows": sessionID + "/rows", "faults": sessionID + "/faults", "client": sessionID + "/client", "requests": sessionID + "/requests", "day": "day?date=2026-11-22"} {
				if status := b.Open(e.url + path); status != 200 {
					t.Errorf("%s: %d", path, status)
				}
				b.Picture(name + "-" + map[int64]string{1440: "desk", 390: "phone"}[width] + "-" + scheme)
			}
		}
	}
}

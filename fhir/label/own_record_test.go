package label_test

import "testing"

// No label up to R keeps a record from the person whose it is, whatever the purpose.
// Who reaches all patients has no such clearance, nor has anyone for another record.
//
// Covers: FS-703
func TestOwnRecord(t *testing.T) {
	const scopes = "patient/*.cruds user/*.cruds; subject=alice; "
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, `{"resourceType":"Patient","id":"q","name":[{"family":"Roe"}],"gender":"male"}`)
	for _, label := range []string{"R", "PSY"} {
		put(t, e, observation("own-"+label, label))
	}
	want(t, e.Do("PUT", "/Observation/very", cleared, observation("very", "V")), 201)

	for _, c := range []struct {
		name, token, path string
		status            int
	}{
		{"restricted", scopes + "patient=p", "/Observation/own-R", 200},
		{"sensitive", scopes + "patient=p", "/Observation/own-PSY", 200},
		{"very restricted", scopes + "patient=p", "/Observation/very", 404},
		{"the record of another", scopes + "patient=q", "/Observation/own-R", 404},
		{"not the person but the client", "patient/*.cruds; patient=p", "/Observation/own-R", 404},
		{"who reaches all patients", scopes + "everyone=yes", "/Observation/own-R", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, e.Do("GET", c.path, c.token, ""), c.status)
		})
	}

	if found := follow(t, e, "/Observation?patient=p", scopes+"patient=p"); len(found) != 2 {
		t.Errorf("a search finds %v", found)
	}
}

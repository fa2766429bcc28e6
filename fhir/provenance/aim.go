package provenance

import (
	"slices"
	"strconv"

	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
)

// Aim returns the body of a Provenance with one target, that of a change, in the place
// of those that it has, and with the patients in whose records that is and its labels.
// No other byte changes.
func Aim(body []byte, root *tree.Value, c Change) ([]byte, error) {
	if _, err := splice.Read(root); err != nil {
		return nil, err
	}

	at, patients := c.Target, c.Patients
	target := `[{"reference":"` + at.Type + `/` + at.ID + `/_history/` + strconv.FormatUint(at.Version, 10) + `"}]`
	after := root.Get("resourceType").To()
	var edits []splice.Edit
	if old := root.Get("target"); old != nil {
		edits = append(edits, splice.Edit{
			From: old.From,
			To:   old.To(),
			With: target,
		})
	} else {
		edits = append(edits, splice.Edit{
			From: after,
			To:   after,
			With: `,"target":` + target,
		})
	}

	if at.Type == "Patient" {
		patients = slices.DeleteFunc(slices.Clone(patients), func(id string) bool {
			return id == at.ID
		})
	}
	if len(patients) > 0 {
		edits = append(edits, extended(root, after, patients))
	}
	if len(c.Labels) > 0 {
		edits = append(edits, labelled(root, after, string(appendLabels(nil, c.Labels))))
	}
	return splice.Apply(body, edits...), nil
}

// extended adds the extensions that name patients.
func extended(root *tree.Value, after int, patients []string) splice.Edit {
	text := ""
	for i, id := range patients {
		text += opening(i, "") + patientExtension(id)
	}

	if old := root.Get("extension"); old != nil && len(old.Items) > 0 {
		at := old.From + 1
		return splice.Edit{
			From: at,
			To:   at,
			With: text + ",",
		}
	}
	return splice.Edit{
		From: after,
		To:   after,
		With: `,"extension":[` + text + `]`,
	}
}

func patientExtension(id string) string {
	return `{"url":"` + PatientExtension + `","valueReference":{"reference":"Patient/` + id + `"}}`
}

// labelled adds labels to meta.security.
func labelled(root *tree.Value, after int, labels string) splice.Edit {
	meta := root.Get("meta")
	security := meta.Get("security")
	switch {
	case security != nil && len(security.Items) > 0:
		return splice.Edit{
			From: security.From + 1,
			To:   security.From + 1,
			With: labels + ",",
		}
	case meta != nil && len(meta.Items) > 0:
		return splice.Edit{
			From: meta.From + 1,
			To:   meta.From + 1,
			With: `"security":[` + labels + `],`,
		}
	}

	return splice.Edit{
		From: after,
		To:   after,
		With: `,"meta":{"security":[` + labels + `]}`,
	}
}

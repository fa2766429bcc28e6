package provenance

import (
	"slices"
	"strings"
)

// Change is one change of a resource.
type Change struct {
	Target
	Activity Activity
	Patients []string // ids of the patients in whose records the version is, or was
	Labels   []Label  // its security labels
}

// maxTargets bounds the targets of one Provenance.
const maxTargets = 1000

// Group returns what changes that were made together have in one Provenance each, in
// their order: the Activity, the Targets and the Patients of Records. Changes of one
// patient's record and of what is in none are together. Where changes are of the
// records of several, each has its own, since whoever sees the record of one must not
// learn of the others. A Provenance has none itself.
func Group(changes []Change) []Record {
	var all []*Record
	byPatients := map[string]*Record{}
	patients := 0

	for _, c := range changes {
		if c.Type == "Provenance" {
			continue
		}

		slices.Sort(c.Patients)
		key := strings.Join(c.Patients, " ")
		r := byPatients[key]
		if r == nil {
			r = &Record{
				Activity: c.Activity,
				Patients: c.Patients,
			}
			byPatients[key] = r
			all = append(all, r)
			if key != "" {
				patients++
			}
		}
		r.add(c)
	}

	if shared := byPatients[""]; shared != nil && patients == 1 {
		all[0].merge(all[1])
		all = all[:1]
	}
	return divide(all)
}

// add adds a change.
func (r *Record) add(c Change) {
	if c.Activity != r.Activity {
		r.Activity = Operate
	}
	r.Targets = append(r.Targets, c.Target)
	r.label(c.Labels)
}

// merge adds the changes of another.
func (r *Record) merge(other *Record) {
	if r.Activity != other.Activity {
		r.Activity = Operate
	}
	r.Targets = append(r.Targets, other.Targets...)
	r.Patients = append(r.Patients, other.Patients...)
	r.label(other.Labels)
}

// label adds labels that are not there.
func (r *Record) label(labels []Label) {
	for _, l := range labels {
		if !slices.Contains(r.Labels, l) {
			r.Labels = append(r.Labels, l)
		}
	}
}

// divide cuts what has too many targets.
func divide(records []*Record) []Record {
	var out []Record
	for _, r := range records {
		for part := range slices.Chunk(r.Targets, maxTargets) {
			one := *r
			one.Targets = part
			out = append(out, one)
		}
	}
	return out
}

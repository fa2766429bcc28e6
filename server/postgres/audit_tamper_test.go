package postgres_test

import (
	"fmt"
	"strings"
	"testing"
)

// alterClient makes another client of one in a row of records.
const alterClient = "update record set block = overlay(block placing 'x'::bytea " +
	"from position('client-'::bytea in block) + 7 for 1)"

// tampering is a way to change the audit records, and what verification finds of it.
type tampering struct {
	name, want string
	sql        []string
}

const (
	gone      = "does not follow the commit of records before it"
	lastGone  = "the last commits of records"
	misplaced = "cannot be read"
	unlisted  = "the log of changes does not list"
)

// rowTamperings change rows of records.
func rowTamperings() []tampering {
	return []tampering{
		{"nothing", "", nil},
		{"a record altered", "chain west, record 6, AuditEvent/a14: was altered or replaced", []string{
			alterClient + " where first = 11",
		}},
		{"the last record altered", "was altered or replaced: it is the last one", []string{
			"update record set block = overlay(block placing 'x'::bytea " +
				"from position('p11'::bytea in block) + 2 for 1) where first = 16",
		}},
		{"a row removed", "chain east, record 4, AuditEvent/a9: follows a gap: 3 records before it are gone", []string{
			"delete from record where first = 2",
		}},
		{"a row removed, and listed no more", "AuditEvent/a11: follows a gap: 2 records before it are gone", []string{
			"delete from record where first = 6",
			"delete from change where doc = 6",
			"update numbers set docs = docs - 2, changes = changes - 2",
		}},
		{"the last row removed", "was the last one: 2 records at the end are gone", []string{
			"delete from record where first = 16",
		}},
		{"rows exchanged", "was altered or replaced", []string{
			"update record set first = 1000 where first = 2",
			"update record set first = 2 where first = 11",
			"update record set first = 11 where first = 1000",
		}},
		{"given to another chain", "chain east, record 1, AuditEvent/a6: was inserted or moved", []string{
			"update record set chain = 'east' where first = 6",
		}},
		{"given to an unknown chain", "chain north, record 1, AuditEvent/a6: is of a chain that is not listed", []string{
			"update record set chain = 'north' where first = 6",
		}},
		{"another count", misplaced, []string{"update record set records = 4 where first = 2"}},
		{"no block", misplaced, []string{"update record set block = '\\x0102' where first = 2"}},
		{"no hash", misplaced, []string{"update record set joint = '' where first = 6"}},
		{"another change", gone, []string{"update record set change = 999 where first = 2"}},
		{"copied", "was altered or replaced", []string{
			"insert into record select 100, records, chain, 100, joint, block from record where first = 16",
		}},
		{"everything removed", "17 numbers were given; there are 5 resources, and 0 records", []string{
			"truncate record, chain",
			"delete from change where type = 'AuditEvent'",
			"update joint set head = anchor",
		}},
	}
}

// chainTamperings change what is kept of whole chains.
func chainTamperings() []tampering {
	removed := []string{
		"delete from record where chain = 'west'",
		"delete from chain where name = 'west'",
		"delete from change where doc in (6, 11)",
	}
	return []tampering{
		{"a chain removed", gone, removed},
		{"a chain removed, and its numbers", gone, append(removed,
			"update numbers set docs = docs - 6, changes = changes - 6")},
		{"a chain removed, and joined again", gone, append(removed,
			"update record set joint = (select joint from record where first = 2) where first = 9",
			"update numbers set docs = docs - 6, changes = changes - 6")},
		{"a chain cut off, with its head", gone, []string{
			"delete from record where first = 11",
			"delete from change where doc = 11",
			"update chain set head_sequence = 2, head_doc = 7 where name = 'west'",
		}},
		{"a chain without its head", "AuditEvent/a6: is of a chain that is not listed", []string{
			"delete from chain where name = 'west'",
		}},
		{"a chain added", "north, record 3, AuditEvent/a900: was the last one: 3 records at the end are gone", []string{
			"insert into chain select 'north', anchor_sequence, anchor_doc, anchor_hash, 3, 900, head_hash " +
				"from chain where name = 'east'",
		}},
		{"another name", "is of a chain that is not listed", []string{
			"update chain set name = 'north' where name = 'west'",
		}},
		{"a lower head", "was added behind the last one, which is number 5", []string{
			"update chain set head_sequence = 5 where name = 'west'",
		}},
		{"another number of the head", "was altered or replaced: it is the last one", []string{
			"update chain set head_doc = 13 where name = 'west'",
		}},
		{"another hash of the head", "was altered or replaced: it is the last one", []string{
			"update chain set head_hash = set_byte(head_hash, 31, get_byte(head_hash, 31) # 1) where name = 'west'",
		}},
		{"a short hash", "where the chain begins or ends cannot be read", []string{
			"update chain set head_hash = '\\x00' where name = 'west'",
		}},
		{"an anchor added", "was inserted", []string{
			"update chain set anchor_sequence = 2, anchor_doc = 7 where name = 'west'",
		}},
		{"another end of the commits", lastGone, []string{
			"update joint set head = set_byte(head, 0, get_byte(head, 0) # 1)",
		}},
		{"another beginning of the commits", gone, []string{
			"update joint set anchor = set_byte(anchor, 0, 1)",
		}},
		{"no ends of the commits", "where the chain begins or ends cannot be read", []string{"delete from joint"}},
		{"two ends of the commits", "where the chain begins or ends cannot be read", []string{
			"insert into joint select * from joint",
		}},
	}
}

// listTamperings change the log of changes, the numbers and the index.
func listTamperings() []tampering {
	return []tampering{
		{"not listed", "AuditEvent/a6: " + unlisted, []string{"delete from change where doc = 6"}},
		{"listed as fewer", "AuditEvent/a6: " + unlisted, []string{"update change set records = 1 where doc = 6"}},
		{"listed as others", "AuditEvent/a6: " + unlisted, []string{"update change set doc = 500 where doc = 6"}},
		{"listed as another type", "AuditEvent/a6: " + unlisted, []string{
			"update change set type = 'Patient' where doc = 6",
		}},
		{"listed as another version", "AuditEvent/a6: " + unlisted, []string{
			"update change set version = 2 where doc = 6",
		}},
		{"listed elsewhere", "AuditEvent/a6: " + unlisted, []string{"update change set seq = 900 where doc = 6"}},
		{"listed twice", "AuditEvent/a6: " + unlisted, []string{
			"insert into change select 900, type, doc, version, records from change where doc = 6",
			"update numbers set changes = 900",
		}},
		{"more numbers", "18 numbers were given", []string{"update numbers set docs = 18"}},
		{"fewer numbers", "16 numbers were given", []string{"update numbers set docs = 16"}},
		{"more changes", "18 changes were made", []string{"update numbers set changes = 18"}},
		{"a resource removed", "17 numbers were given; there are 4 resources", []string{
			"delete from doc where doc = 5",
		}},
		{"indexed further", "the records are indexed up to AuditEvent/a9", []string{"update indexed set last = 9"}},
		{"terms of no record", "the index has terms of no records", []string{
			"insert into posting values ('\\x0102', 9, '\\x02')",
		}},
	}
}

// indexTamperings change the index of a segment.
func indexTamperings() []tampering {
	const unlike = "the index of the records up to this one does not have their terms"
	return []tampering{
		{"nothing", "", nil},
		{"a term removed", unlike, []string{"delete from posting where term = (select term from posting order by term desc limit 1)"}},
		{"a term altered", unlike, []string{
			"update posting set term = term || '\\x07' where term = (select term from posting order by term desc limit 1)",
		}},
		{"a term added", unlike, []string{
			"insert into posting select '\\x0102', last, '\\x02' from segment",
		}},
		{"records of a term altered", unlike, []string{
			"update posting set docs = '\\x02' where term = (select term from posting order by term desc limit 1)",
		}},
		{"no records of a term", unlike, []string{
			"update posting set docs = '\\x80' where term = (select term from posting order by term desc limit 1)",
		}},
		{"a segment removed", "the index ends at AuditEvent/a0", []string{"delete from segment"}},
		{"a segment removed, with its terms", "the index ends at AuditEvent/a0", []string{
			"truncate segment, posting",
		}},
		{"a segment added", unlike, []string{"insert into segment values (50)"}},
		{"all removed", unlike, []string{"truncate posting"}},
	}
}

// run does it in a database that keep was called for.
func (w tampering) run(t *testing.T, all *shared) {
	s := *all
	s.TB = t
	s.restore()
	s.sql(w.sql...)
	r := s.verified(nil)
	if w.want == "" {
		if !r.Intact() {
			t.Errorf("%v", r.Findings)
		}
		return
	}

	var text strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintln(&text, f)
	}
	if !strings.Contains(text.String(), w.want) {
		t.Errorf("%swant %s", &text, w.want)
	}
}

// Verification finds every change of the records by somebody with the database's
// password, and says where it is: also that a whole chain was removed.
//
// Covers: FS-401, case 269
func TestVerifyFindsEveryChangedRow(t *testing.T) {
	s := openShared(t)
	s.fill()
	s.keep()
	for part, rows := range map[string][]tampering{
		"records": rowTamperings(),
		"chains":  chainTamperings(),
		"lists":   listTamperings(),
	} {
		for _, row := range rows {
			t.Run(part+"/"+row.name, func(t *testing.T) {
				row.run(t, s)
			})
		}
	}
}

// Verification finds every change of the index: a record that is found no more is as
// good as removed.
//
// Covers: FS-401
func TestVerifyFindsEveryChangedTerm(t *testing.T) {
	s := openShared(t)
	s.add(s.east, 0, 700)
	s.add(s.west, 700, 400)
	s.settled()
	s.add(s.east, 1100, 2)
	s.keep()
	for _, row := range indexTamperings() {
		t.Run(row.name, func(t *testing.T) {
			row.run(t, s)
		})
	}
}

// No byte of a row of records can change unnoticed.
//
// Covers: FS-401
func TestVerifyFindsEveryChangedByte(t *testing.T) {
	s := openShared(t)
	s.add(s.east, 0, 1)
	s.add(s.west, 1, 1)
	s.add(s.east, 2, 1)
	s.sql("create table kept as select * from record", `create function flip(n integer) returns boolean as $$
		update record set block = kept.block, joint = kept.joint from kept where kept.first = record.first;
		update record set block = set_byte(block, n, get_byte(block, n) # (1 << (n % 8)))
			where first = 4 and n < length(block);
		update record set joint = set_byte(joint, n - length(block), get_byte(joint, n - length(block)) # 4)
			where first = 4 and n >= length(block) and n < length(block) + 32;
		select n < length(block) + 32 from kept where first = 4 $$ language sql`)

	n := 0
	for ; ; n++ {
		if !s.flip(n) {
			break
		}
		if s.verified(nil).Intact() {
			t.Errorf("byte %d", n)
		}
	}
	if n < 150 {
		t.Errorf("%d bytes", n)
	}
}

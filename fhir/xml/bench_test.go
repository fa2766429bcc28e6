package xml

import (
	"syscall"
	"testing"
	"time"

	"fhirdest.example/fhir/table"
)

// fiveKB returns an Observation of 5 KB, as dense as a panel of many components is.
func fiveKB() []byte {
	b := []byte(`{"resourceType":"Observation","id":"a","meta":{"versionId":"1"},"status":"final","code":{"text":"panel"},"component":[`)
	for len(b) < 5000 {
		b = append(b, `{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6","display":"Systolic blood pressure"}]},`+
			`"valueQuantity":{"value":117.50,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}},`...)
	}
	return append(b[:len(b)-1], "]}"...)
}

// BenchmarkXMLRead is what XML adds to reading a resource of 5 KB.
func BenchmarkXMLRead(b *testing.B) {
	body := fiveKB()
	table.R4() // unpacked once in a program's life
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	before := used(b)
	for b.Loop() {
		if _, err := Write(body, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(used(b)-before)/float64(b.N), "cpu-ns/op")
}

// used is the CPU time that the process has used, its collector's included: on a
// machine that does other work, the time that passes is another.
func used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkXMLWrite is what XML adds to sending a resource of 5 KB.
func BenchmarkXMLWrite(b *testing.B) {
	doc, err := Write(fiveKB(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()

	before := used(b)
	for b.Loop() {
		if _, err := Read(doc); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(used(b)-before)/float64(b.N), "cpu-ns/op")
}

package xml

import (
	"testing"

	"fhirdest.example/fhir/sample"
)

// fiveKB returns a resource of the sample population of about 5 KB.
func fiveKB(b *testing.B) []byte {
	b.Helper()
	var body []byte
	err := sample.History(sample.DefaultPatients, func(s sample.Step) error {
		if distance(len(s.JSON)) < distance(len(body)) {
			body = s.JSON
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}

	return body
}

func distance(n int) int { return max(n-5000, 5000-n) }

// BenchmarkXMLRead is what XML adds to reading a resource of 5 KB.
func BenchmarkXMLRead(b *testing.B) {
	body := fiveKB(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Write(body, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkXMLWrite is what XML adds to sending a resource of 5 KB.
func BenchmarkXMLWrite(b *testing.B) {
	doc, err := Write(fiveKB(b), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()

	for b.Loop() {
		if _, err := Read(doc); err != nil {
			b.Fatal(err)
		}
	}
}

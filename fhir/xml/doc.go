// Package xml converts FHIR resources between their JSON and their XML form
// (FHIR R4, xml.html and json.html). The table of R4's definitions drives both
// ways: the order of elements, which of them are attributes, which hold a whole
// resource.
//
// Nothing is lost either way of what package validate accepts: decimals keep
// their digits, primitives their ids and extensions, narratives their bytes. Only
// white space around a narrative's div, comments outside it, and the order in
// which JSON had its members have no place in the other form.
//
// Read is strict, and takes time in proportion to the length of the body. It
// accepts a small part of XML 1.0 with namespaces: no document type, hence no
// entities of the document's own, no processing instructions, no CDATA sections, no
// text outside the narrative. What it does not check is the meaning of values: the
// JSON that it returns goes through package validate as any other.
package xml

// The namespaces of a resource and of its narrative (FHIR R4, xml.html 2.6.1).
const (
	Namespace = "http://hl7.org/fhir"
	XHTML     = "http://www.w3.org/1999/xhtml"
)

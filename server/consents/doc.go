// Package consents keeps a Consent resource for each grant that a patient, or somebody
// for a patient, gives on the consent page.
//
// The grant is in the store of the authorization server and its Consent in that of the
// FHIR service; no transaction spans both. A grant whose Consent is not active has no
// effect, and everything follows from that:
//
//   - What is granted is stored first and its Consent second: a grant without one gives
//     access to nothing, and the client gets no code before both are stored.
//   - What is withdrawn has its Consent made inactive first and is removed second: it
//     has no effect from the first write on.
//   - A grant that ends in another way is removed first. Its Consent, which permits
//     what it granted no longer than the grant could have lasted, is made inactive
//     after that: at once, or by Repair when the server stopped in between.
//   - A Consent that is made inactive, deleted or given to another patient by the FHIR
//     API ends its grant: the next request is refused and the grant removed.
package consents

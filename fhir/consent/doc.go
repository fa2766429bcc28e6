// Package consent decides by a patient's Consent resources (R4 consent.html)
// whether data of that patient may be used.
//
// Decider.Decide has one question: do the Consents that are in force for some
// patients permit these actions on this resource, for this party, its purposes
// and this moment? The answer names the Consent and the provision that decided.
//
// What counts:
//
//   - A Consent is in force when its status is active, its scope is
//     patient-privacy (those of other scopes are ignored), it has a patient, and
//     no later Consent of that patient supersedes it. A Consent supersedes an
//     earlier one (by dateTime, else by when it was stored) when both have an
//     identifier in common, or when it names the earlier one as its source
//     (sourceReference).
//   - policyRule is the base: OPTIN and OPTINR permit, OPTOUT and OPTOUTE deny
//     (v3-ActCode). Without it a Consent says nothing beyond its provisions.
//   - A provision applies when each kind of criterion that it has is met: one of
//     its actors, one of its actions, and so on. Within one that applies, the
//     provisions below are its exceptions; of those that apply, one that denies
//     overrides.
//   - The first provision needs no type. Without one it only limits the base when
//     all it has is a period or exceptions that deny; else it is an exception to a
//     base that permits. Under a base that denies it permits nothing.
//   - Of several Consents of a patient, and of several patients to whom a resource
//     belongs, one that denies overrides. Where none decides, the policy's default
//     does.
//
// A resource belongs to the patients in whose compartment it is (R4
// compartmentdefinition-patient.html), and otherwise to the patient or subject that
// it names; a Binary to those of its security context; a stored Bundle to those of
// all that is in it. Consents themselves, Groups and AuditEvents are not restricted.
// What a person's token does with the person's own record is not restricted either:
// Consents are about others.
//
// What cannot be known fails closed: a provision that denies applies when it
// cannot be excluded that it does, one that permits applies only when it is
// certain. A Consent that cannot be understood (a modifierExtension,
// implicitRules, an unknown policyRule) denies everything of its patient; a
// provision with a modifierExtension or without a type denies what it is about.
package consent

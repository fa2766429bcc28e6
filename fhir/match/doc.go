// Package match finds out which patients of a population a described person most
// likely is: the operation Patient/$match of R4, by the rules of HL7's
// Interoperable Digital Identity and Patient Matching guide (STU 2), here "the
// guide". It reads what it is given and needs no store: the caller looks the
// blocks up and shows the result.
//
// A score is a number from 0 to 1, at 0.05 for each point of what agrees, up to
// 0.8, and slower above it. The points are such that the guide's examples of
// output quality come out as it has them: name and date of birth are 0.6, with a
// telephone 0.7, with an address 0.8, and with an identifier more. Nothing that
// agrees lowers a score; what contradicts bounds it.
package match

-- Audit records, and the places in their chain that are kept apart from them.
create table record (
    doc      bigint primary key,
    sequence bigint not null unique,
    previous bytea  not null, -- hash of the record before
    who      bytea  not null, -- the parts of trail.Packed
    asked    bytea  not null,
    own      bytea  not null
);
create table place (
    name     text   primary key, -- head or anchor
    sequence bigint not null,
    doc      bigint not null,
    hash     bytea  not null
);

-- Version 1 of the schema trust. Texts that clients choose are bytea: no byte of them
-- can make a statement fail. Keys that may be long are the SHA-256 of the text.

-- What all destinations share, once: see trust_tx.go.
create table state (
	one bool primary key default true check (one),
	floor bigint not null default 0,    -- jti of this minute and earlier are forgotten
	restored bigint not null default 0, -- second of the last restore from a backup; 0: never
	spent bigint not null default 0,    -- rows of spent
	token bigint not null default 0     -- number of the last token
) with (fillfactor = 20);

insert into state default values;

create table settings (
	name text primary key,
	value bytea not null
);

-- Versions of rows: none is ever given twice, so that a copy in memory whose version is
-- that of the row is the row.
create sequence versions;

create table registration (
	key bytea primary key, -- SHA-256 of community, NUL and client URI
	client_id bytea not null unique,
	version bigint not null,
	expires bigint, -- second in which the certificate expires; null: unknown
	body bytea not null
);

create index registration_expires on registration (expires) where expires is not null;

create table spent (
	key bytea primary key, -- of a jti
	minute bigint not null, -- up to which it is remembered
	second bigint not null, -- of its use
	endpoint bytea not null
);

create index spent_minute on spent (minute);

create table token (
	minute bigint not null, -- of expiry
	number bigint not null,
	hash bytea not null,
	client_id bytea not null,
	grant_id bytea, -- null: of the client itself
	body bytea not null,
	primary key (minute, number)
);

create table grants (
	id bytea primary key,
	subject bytea not null, -- SHA-256 of the person's subject
	client_id bytea not null,
	version bigint not null,
	minute bigint not null, -- of expiry
	body bytea not null
);

create index grants_subject on grants (subject, client_id);
create index grants_minute on grants (minute);

create table launch (
	handle bytea primary key, -- which begins with the minute of expiry
	body bytea not null
);

create table session (
	id bytea primary key,
	signed_in bigint not null, -- second
	body bytea not null
);

create index session_signed_in on session (signed_in);

create table consent (
	key bytea primary key, -- SHA-256 of the person's subject, NUL and client_id
	body bytea not null
);

create table trip (
	id bytea primary key,
	minute bigint not null, -- of expiry
	body bytea not null
);

create index trip_minute on trip (minute);

-- How many trips that end in a minute were begun.
create table trips_begun (
	minute bigint primary key,
	count bigint not null
);

create table membership (
	key bytea primary key, -- SHA-256 of the provider's base URL
	body bytea not null
);

create table list (
	key bytea primary key, -- SHA-256 of its name
	name bytea not null,
	fetched bigint not null, -- second
	der bytea not null
);

create table decision (
	number bigint primary key generated always as identity,
	destination bytea not null,
	id bytea not null, -- of the trace
	body bytea not null
);

create index decision_destination on decision (destination, number);
create index decision_id on decision (id);

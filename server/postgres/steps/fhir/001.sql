-- Version 1 of the schema fhir.

-- The last numbers that were given. Writers change it, one after another: each holds
-- the advisory lock of this schema until its commit.
create table numbers (
    docs    bigint not null, -- of a resource or a record
    changes bigint not null, -- in the log of changes
    written bigint not null, -- of these, the last that is not of records
    epoch   bigint not null  -- how often the index was made anew
);
insert into numbers values (0, 0, 0, 0);

-- Current versions.
create table doc (
    doc     bigint   primary key,
    version bigint   not null,
    updated bigint   not null, -- milliseconds since 1970
    method  smallint not null,
    deleted boolean  not null,
    type    text     not null,
    id      text     not null,
    terms   bytea    not null, -- search.Terms
    body    bytea    not null,
    unique (type, id)
);

-- Versions that were current before.
create table former (
    doc     bigint   not null,
    version bigint   not null,
    updated bigint   not null,
    method  smallint not null,
    deleted boolean  not null,
    body    bytea    not null,
    primary key (doc, version)
);

-- The log: every version of every resource, by the number of the change that made it.
-- A row of records is that many of them: the first versions of successive numbers.
create table change (
    seq     bigint  primary key,
    type    text    not null,
    doc     bigint  not null,
    version bigint  not null,
    records integer not null default 1
);
create index change_type on change (type, seq);

-- The index of current versions.
create table term (
    term bytea  not null,
    doc  bigint not null,
    primary key (term, doc)
);

-- Values that the server stores for itself.
create table setting (
    name  text  primary key,
    value bytea not null
);

-- LZ4 costs a read far less than PostgreSQL's own method, where the server has it.
do $$ begin
    alter table doc alter column body set compression lz4;
    alter table doc alter column terms set compression lz4;
    alter table former alter column body set compression lz4;
exception when feature_not_supported then
end $$;

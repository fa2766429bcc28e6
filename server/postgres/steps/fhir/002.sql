-- The audit records, some in a row, in the order of their numbers: see packed.Block.
create table record (
    first   bigint  primary key, -- number of the first of them
    records integer not null,    -- how many
    chain   text    not null,    -- name of the destination
    change  bigint  not null,    -- number of the first among all changes
    joint   bytea   not null,    -- hash of the row before, whatever destination it is of
    block   bytea   not null
);

-- The ends of each destination's chain, kept apart from the records.
create table chain (
    name            text   primary key,
    anchor_sequence bigint not null, -- of the last record that was removed as too old
    anchor_doc      bigint not null,
    anchor_hash     bytea  not null,
    head_sequence   bigint not null, -- of the last record
    head_doc        bigint not null,
    head_hash       bytea  not null
);

-- The ends of the chain of rows.
create table joint (
    anchor bytea not null, -- hash of the last row that was removed as too old
    head   bytea not null  -- hash of the last row
);
insert into joint values (decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'));

-- The index of records, in segments. A segment has those behind the segment before, up
-- to the last one. All records up to a number are in it; those behind it are the tail.
create table indexed (
    last bigint not null
);
insert into indexed values (0);
create table segment (
    last bigint primary key
);
create table posting (
    term bytea  not null,
    last bigint not null, -- of its segment
    docs bytea  not null, -- the numbers in this segment: differences as varints
    primary key (term, last)
);
create index posting_last on posting using brin (last) with (autosummarize);
alter table record alter column block set storage external;

-- Version 1 of the schema jobs.

-- Work in the background. body is the job as JSON; the other columns are what is
-- counted and looked for.
create table job (
	id       text primary key,
	client   text not null,
	state    text not null,
	created  timestamptz not null,
	expires  timestamptz,                   -- null: it has not ended
	attempts int not null,
	lease    timestamptz,                   -- when that of the latest attempt ends
	progress text not null default '',
	bytes    bigint not null,               -- of its files as they are
	body     bytea not null
);

create index job_created on job (created, id);
create index job_expires on job (expires) where expires is not null;

-- The files of jobs, in chunks of 256 KiB; those of attempt 0 are the bodies of requests.
create table chunk (
	job     text not null,
	attempt int not null,
	name    text not null,
	number  int not null,
	made    timestamptz not null default now(),
	body    bytea not null,
	primary key (job, attempt, name, number)
);

-- Neither the time nor the processor for compression: files are kept for an hour.
alter table chunk alter column body set storage external;

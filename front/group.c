#include "front/group.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "front/shared_record.h"

#include <stdlib.h>

#define RECORD_POLLS 5 /* so long another front's word is kept, and this one goes on without reading one */

struct group {
	int64_t poll_secs;
	struct agreement agreement;
	struct shared_record *record; /* NULL: alone */
	unsigned unread;	      /* looks in which the record could not be read */
	bool is_untold;		      /* no record is known to tell this front's news */
	bool has_moved;
};

static void
read_record(struct group *group)
{
	struct agreement_record record;
	enum shared_read found = shared_record_read(group->record, &record, sizeof(record));

	if (found != SHARED_UNKNOWN) {
		group->unread = 0;
		group->has_moved =
			agreement_read(&group->agreement, found == SHARED_FOUND ? &record : NULL, clock_wall_ms()) ||
			group->has_moved;
	} else if (++group->unread == RECORD_POLLS && group->agreement.is_settled) {
		log_warning("the record of the group has not been read for %d looks: nothing is shared until it is",
			    RECORD_POLLS);
		agreement_part(&group->agreement);
		group->has_moved = true;
	}
}

void
group_listen(struct group *group)
{
	if (group->record != NULL) {
		read_record(group);
	}
}

/* The record is read again just before, so that what another front has written meanwhile is not overwritten. */
static void
write_record(struct group *group)
{
	struct agreement_record record;

	if (group->agreement.is_settled) {
		read_record(group);
	}
	if (!group->has_moved && agreement_write(&group->agreement, &record)) { /* else the next look enters it first */
		group->is_untold = !shared_record_write(group->record, bytes_make(&record, sizeof(record)),
							(uint64_t)group->poll_secs * RECORD_POLLS * 1000);
	}
}

void
group_tell(struct group *group)
{
	if (group->record != NULL) {
		write_record(group);
	}
}

void
group_tell_last(struct group *group)
{
	if (group->record == NULL || !group->is_untold) {
		return;
	}
	if (!group->agreement.is_settled) {
		read_record(group);
	}
	for (size_t i = 0; i < 2 && group->is_untold; i++) { /* what is found may change the generation once more */
		group->has_moved = false;
		write_record(group);
	}
}

void
group_move(struct group *group)
{
	agreement_move(&group->agreement, clock_wall_ms());
	group->is_untold = true;
	group->has_moved = true;
}

void
group_enter(struct group *group, char generation[GROUP_GENERATION])
{
	hex_text(bytes_make(group->agreement.mine.random, AGREEMENT_RANDOM), generation);
	group->has_moved = false;
}

bool
group_has_moved(const struct group *group)
{
	return group->has_moved;
}

bool
group_is_anothers(const struct group *group)
{
	return group->agreement.is_anothers;
}

bool
group_is_joined(const struct group *group)
{
	return group->record != NULL && group->agreement.is_settled;
}

struct group *
group_new(const struct group_options *options)
{
	struct group *group = memory_new(sizeof(*group));

	group->poll_secs = options->poll_secs;
	agreement_init(&group->agreement);
	if (options->name != NULL) {
		group->record =
			shared_record_new(options->store, options->loop, bytes_text(options->name), options->stopping);
	}
	return group;
}

void
group_free(struct group *group)
{
	if (group != NULL) {
		shared_record_free(group->record);
		free(group);
	}
}

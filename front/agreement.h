/*
 * How fronts of the same servers that share a store agree on a generation (follower.h), so that they share answers. No
 * I/O here.
 *
 * Each front writes its record to the store at each poll. A generation has an *epoch*, at least the time at which it
 * began; the higher one wins. Who notices that models may have changed begins one that is higher than all it knows.
 * Clocks may be apart, and records may be lost: so who has noticed something a moment ago does not take over another's
 * generation, which may have begun before, but begins one above it; unless it was begun by somebody who knew its own.
 * So does who finds a lower one that it has never had: that may be somebody's news.
 *
 * A front that starts does not know what happened to the models before. It takes over a generation only once it has
 * seen another front at work, which has followed the models all the time: the record changes from one poll to the next.
 * Until then it has a generation of its own, and writes nothing.
 */
#ifndef HIPPOCAMP_FRONT_AGREEMENT_H
#define HIPPOCAMP_FRONT_AGREEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGREEMENT_RANDOM 16
#define AGREEMENT_LEFT 16

struct agreement_record {
	uint64_t epoch;
	uint8_t random[AGREEMENT_RANDOM]; /* which generation it is */
	uint8_t over[AGREEMENT_RANDOM];	  /* the one that its beginner left */
	uint64_t writer;
	uint64_t beat; /* of this writer: counts its records */
};

struct agreement {
	struct agreement_record mine;
	bool is_settled;  /* mine is in force among all */
	bool is_anothers; /* another front has begun it */
	struct agreement_record seen;
	bool has_seen;
	unsigned silent; /* polls in which the record seen has not changed */
	bool has_noticed;
	unsigned reads; /* since it has noticed that models may have changed */
	uint8_t left[AGREEMENT_LEFT]
		    [AGREEMENT_RANDOM]; /* generations that it has left, or begun above; others may be late to do so */
	size_t left_count;
};

void agreement_init(struct agreement *agreement);

/*
 * Takes the record that was found in a poll; NULL: there is none. `now_ms` since 1970. Returns whether the generation
 * is another one now.
 */
bool agreement_read(struct agreement *agreement, const struct agreement_record *record, uint64_t now_ms);

/* The models may have changed: a new generation begins. */
void agreement_move(struct agreement *agreement, uint64_t now_ms);

/* The store has not been reached for long, so that others may have moved: this front is alone, as one that starts. */
void agreement_part(struct agreement *agreement);

/* The record to write in this poll. False: none. */
bool agreement_write(struct agreement *agreement, struct agreement_record *record);

#endif

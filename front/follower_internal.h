/*
 * A follower, and what its files ask of each other. follower.c: the source, generations, life; follower_replica.c: what
 * a replica shows; follower_document.c: what replicas tell of a model; follower_models.c: these models;
 * follower_request.c: the requests. Private to them.
 */
#ifndef HIPPOCAMP_FRONT_FOLLOWER_INTERNAL_H
#define HIPPOCAMP_FRONT_FOLLOWER_INTERNAL_H

#include "base/buf.h"
#include "base/digest.h"
#include "front/follower.h"
#include "front/group.h"
#include "front/replica_view.h"

#include <stdatomic.h>

#define FOLLOWER_DOCUMENT_MAX ((size_t)64 << 20)
#define FOLLOWER_ASLEEP_NS UINT64_C(4000000000)
#define FOLLOWER_WHY_MAX 300

struct replica_state {
	bool is_known;	   /* it was reached before */
	bool was_reached;  /* at the last poll */
	uint64_t read_ns;  /* when its view was read */
	uint64_t retry_ns; /* after a failure: when to ask again; as long after it as it took */
	size_t losses;
	struct replica_view view;
	struct buf metadata; /* of the server */
	bool has_statistics;
	bool has_binary;
};

struct followed_model {
	char *name;
	int64_t *versions; /* ascending; none: it is gone */
	size_t version_count;
	char *word; /* its only version, which is no number; NULL: they are numbers */
	bool is_to_be_read;
	bool told_differing;
	bool is_usable;
	struct digest_value document; /* of what the server tells */
	struct buf config;	      /* ours, as JSON */
};

struct follower {
	const struct follower_options *options;
	struct loop *loop;
	struct upstream_lane *lane;
	atomic_bool stopping;
	struct loop_mail wake;
	struct replica_state *replicas;
	size_t replica_count;
	struct followed_model *models;
	size_t model_count;
	size_t reread; /* the next one to be read again */
	bool told_unreachable;
	char why[2 * FOLLOWER_WHY_MAX]; /* the last request failed */
	bool told_without_statistics;
	char generation[GROUP_GENERATION]; /* "": the first one, where the owner states what the files are */
	struct group *group;
	bool has_reached;	  /* any replica, once */
	atomic_bool told_reached; /* for follower_count */
	atomic_size_t told_models;
	atomic_size_t told_cached;
	bool was_asleep;     /* since the last look */
	uint64_t ended_ns;   /* the last look, by clock_boot_ns */
	const char *moved;   /* why a new generation begins; NULL: none does */
	atomic_bool changed; /* see follower_note_change */
};

/* Asks one replica, and waits. Returns the HTTP status, or 0 if there was no whole response. */
int follower_ask(struct follower *follower, size_t replica, const char *method, const char *target, struct buf *body);

/* "HTTP" or "gRPC": by which the replica is asked. */
const char *follower_port(const struct follower *follower, size_t replica);

/* NULL: there is none. */
struct followed_model *follower_find_model(const struct follower *follower, const char *name);

/* Reads what a replica shows of its models. What it has read and what that means is in its state, and in `moved`. */
void follower_poll_replica(struct follower *follower, size_t replica);

/* While replicas that should be equal tell different things of a model, it is not cached. */
void follower_read_new(struct follower *follower);

/* Reads some models again, in turn: their configuration may change without a sign. */
void follower_read_again(struct follower *follower);

#endif

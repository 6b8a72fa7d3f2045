#include "caches/redis/connection/refusal.h"

struct kind {
	const char *word; /* the first word of the error; NULL: the word does not tell */
	const char *name;
	const char *remedy;
	bool of_node;
};

static const struct kind kinds[REDIS_REFUSAL_COUNT] = {
	[REDIS_REFUSAL_OOM] = {"OOM", "oom", "raise maxmemory, or choose an eviction policy such as volatile-lru",
			       false},
	[REDIS_REFUSAL_READONLY] = {"READONLY", "read_only", "give the address of the primary, not of a replica",
				    false},
	[REDIS_REFUSAL_LOADING] = {"LOADING", "loading", NULL, true},
	[REDIS_REFUSAL_BUSY] = {"BUSY", "busy", "end the script that blocks Redis: SCRIPT KILL or FUNCTION KILL", true},
	[REDIS_REFUSAL_MISCONF] = {"MISCONF", "misconf",
				   "see in the log of Redis why it cannot save to disk, or turn its persistence off",
				   false},
	[REDIS_REFUSAL_CLUSTERDOWN] = {"CLUSTERDOWN", "cluster_down",
				       "see CLUSTER INFO and CLUSTER NODES: slots are not served", true},
	[REDIS_REFUSAL_UNSERVED] = {NULL, "unserved", "see CLUSTER SLOTS: nobody serves some of the slots", false},
	[REDIS_REFUSAL_MASTERDOWN] = {"MASTERDOWN", "master_down",
				      "mend the replica's link to its primary, or set replica-serve-stale-data yes",
				      true},
	[REDIS_REFUSAL_NOREPLICAS] = {"NOREPLICAS", "no_replicas",
				      "start the replicas that are missing, or lower min-replicas-to-write", false},
	[REDIS_REFUSAL_MAXCLIENTS] = {NULL, "max_clients", "raise maxclients, or lower pool_size", true},
	[REDIS_REFUSAL_NOAUTH] = {"NOAUTH", "no_auth", "give the password, in TRITONCACHE_REDIS_PASSWORD", true},
	[REDIS_REFUSAL_WRONGPASS] = {"WRONGPASS", "wrong_pass",
				     "check TRITONCACHE_REDIS_USERNAME and TRITONCACHE_REDIS_PASSWORD, or the options "
				     "user and password",
				     true},
	[REDIS_REFUSAL_NOPERM] = {"NOPERM", "no_perm", "permit the command and the keys with ACL SETUSER", false},
	[REDIS_REFUSAL_MOVED] = {"MOVED", "moved", NULL, false},
	[REDIS_REFUSAL_ASK] = {"ASK", "ask", NULL, false},
	[REDIS_REFUSAL_TRYAGAIN] = {"TRYAGAIN", "try_again", NULL, false},
	[REDIS_REFUSAL_DENIED] = {"DENIED", "denied",
				  "set a password in Redis, which its protected mode demands of other machines", true},
	[REDIS_REFUSAL_OTHER] = {NULL, "other", NULL, false},
};

enum redis_refusal
redis_refusal_of(struct bytes text)
{
	struct bytes word = text;

	/* In a cluster the text goes on with "+ cluster connections reached". */
	if (bytes_starts_with(text, "ERR max number of clients")) {
		return REDIS_REFUSAL_MAXCLIENTS;
	}
	if (bytes_starts_with(text, "CLUSTERDOWN Hash slot")) {
		return REDIS_REFUSAL_UNSERVED;
	}
	word.length = 0;
	while (word.length < text.length && text.at[word.length] != ' ') {
		word.length++;
	}
	for (unsigned int i = 0; i < REDIS_REFUSAL_COUNT; i++) {
		if (kinds[i].word != NULL && bytes_equal_text(word, kinds[i].word)) {
			return (enum redis_refusal)i;
		}
	}
	return REDIS_REFUSAL_OTHER;
}

bool
redis_refusal_is_of_key(struct bytes text)
{
	return bytes_starts_with(text, "WRONGTYPE");
}

const char *
redis_refusal_name(enum redis_refusal refusal)
{
	return kinds[refusal].name;
}

bool
redis_refusal_of_node(enum redis_refusal refusal)
{
	return kinds[refusal].of_node;
}

const char *
redis_refusal_remedy(enum redis_refusal refusal)
{
	return kinds[refusal].remedy;
}

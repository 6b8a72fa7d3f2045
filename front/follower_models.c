/* What the files of a follower ask of its models. */
#include "front/follower_internal.h"

#include <string.h>

struct followed_model *
follower_find_model(const struct follower *follower, const char *name)
{
	for (size_t i = 0; i < follower->model_count; i++) {
		if (strcmp(follower->models[i].name, name) == 0) {
			return &follower->models[i];
		}
	}
	return NULL;
}

bool
follower_shows_loads(const struct follower *follower, const char *name)
{
	bool any = false;

	for (size_t i = 0; i < follower->replica_count; i++) {
		any = any || follower->replicas[i].was_reached;
	}
	for (size_t i = 0; i < follower->replica_count; i++) {
		if ((follower->replicas[i].was_reached || !any) &&
		    !replica_view_has_counters(&follower->replicas[i].view, name)) {
			return false;
		}
	}
	return true;
}

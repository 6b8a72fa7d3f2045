/* An empty libtritonserver.so for the loader: see host.h. ISO C requires a declaration in each file. */
extern const char hippocamp_is_the_host[];
const char hippocamp_is_the_host[] = "the functions of this name's library are in the program that loaded it";

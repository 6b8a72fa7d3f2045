/* What every part that sets up TLS from files needs of OpenSSL. Any thread. */
#ifndef HIPPOCAMP_BASE_OPENSSL_H
#define HIPPOCAMP_BASE_OPENSSL_H

#include <stdbool.h>

/* Says in words what a code of ERR_peek_last_error() means. Valid until the thread's next call. */
const char *openssl_reason(unsigned long code);

/* Does the code say that a private key and a certificate do not belong together? */
bool openssl_is_key_mismatch(unsigned long code);

/* A pem_password_cb without a password: without one, OpenSSL asks for it on the terminal. */
int openssl_no_password(char *password, int size, int writing, void *argument);

#endif

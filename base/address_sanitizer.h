/* Is this built with AddressSanitizer? It sees only what runs over the end of a block of malloc's. */
#ifndef HIPPOCAMP_BASE_ADDRESS_SANITIZER_H
#define HIPPOCAMP_BASE_ADDRESS_SANITIZER_H

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif
#ifndef ADDRESS_SANITIZER
#define ADDRESS_SANITIZER 0
#endif

#endif

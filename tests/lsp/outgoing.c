/* Loaded by LD_PRELOAD: writes a line to the file $OUTGOING_LOG for each process that begins, and
 * for each address that it wants to reach and name that it wants to know, whatever the language:
 *
 *     loaded PID PROGRAM COMMAND LINE
 *     CALL PID PROGRAM FAMILY ADDRESS
 *
 * Nothing is kept from happening. Unix sockets are not told. What asks the kernel without libc (a
 * static program, Go, io_uring) is not seen.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* One write, so that lines of several processes do not mix. */
static void tell(const char *call, const char *rest)
{
    int before = errno;
    const char *path = getenv("OUTGOING_LOG");
    int file = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0) {
        char line[4096];
        int length = snprintf(line, sizeof line, "%s %d %s %s", call, getpid(),
                              program_invocation_short_name, rest);
        if (length > (int)sizeof line - 2)
            length = (int)sizeof line - 2;
        line[length++] = '\n';
        if (write(file, line, length) != length)
            abort(); /* or a connection would go unseen */
        close(file);
    } else if (path != NULL)
        abort();
    errno = before;
}

static void tell_address(const char *call, const struct sockaddr *to)
{
    char rest[256], text[INET6_ADDRSTRLEN] = "";
    if (to == NULL || to->sa_family == AF_UNIX)
        return;
    if (to->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)to;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        snprintf(rest, sizeof rest, "AF_INET %s:%d", text, ntohs(v4->sin_port));
    } else if (to->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)to;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        snprintf(rest, sizeof rest, "AF_INET6 [%s]:%d", text, ntohs(v6->sin6_port));
    } else
        snprintf(rest, sizeof rest, "family %d", to->sa_family);
    tell(call, rest);
}

static void tell_name(const char *call, const char *name)
{
    char rest[512];
    snprintf(rest, sizeof rest, "name %s", name == NULL ? "(none)" : name);
    tell(call, rest);
}

__attribute__((constructor)) static void loaded(void)
{
    char command[2048];
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, command, sizeof command - 1);
    if (length < 0)
        length = 0;
    if (file >= 0)
        close(file);
    for (ssize_t i = 0; i < length; i++)
        if (command[i] == '\0' || command[i] == '\n')
            command[i] = ' ';
    command[length] = '\0';
    tell("loaded", command);
}

int connect(int fd, const struct sockaddr *to, socklen_t length)
{
    tell_address("connect", to);
    return NEXT(connect)(fd, to, length);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
               socklen_t length)
{
    tell_address("sendto", to);
    return NEXT(sendto)(fd, data, size, flags, to, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    tell_address("sendmsg", message->msg_name);
    return NEXT(sendmsg)(fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    for (unsigned int i = 0; i < count; i++)
        tell_address("sendmmsg", messages[i].msg_hdr.msg_name);
    return NEXT(sendmmsg)(fd, messages, count, flags);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    tell_name("getaddrinfo", name);
    return NEXT(getaddrinfo)(name, service, hints, found);
}

struct hostent *gethostbyname(const char *name)
{
    tell_name("gethostbyname", name);
    return NEXT(gethostbyname)(name);
}

int gethostbyname_r(const char *name, struct hostent *entry, char *buffer, size_t size,
                    struct hostent **found, int *error)
{
    tell_name("gethostbyname_r", name);
    return NEXT(gethostbyname_r)(name, entry, buffer, size, found, error);
}

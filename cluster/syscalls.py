"""System calls by name and number: what a bundle process may ask of the kernel, what it may ask in part, what never.

Numbers are those of Linux on x86-64 and on 64-bit ARM (syscalls(2); `-` where an architecture lacks a call). The list of
what is allowed is what Python, numpy, PyTorch, OpenVINO and onnxruntime use to compute: memory, threads, time, files that
are open. What is on no list does not exist for a bundle (ENOSYS), so that a C library tries what it did before there was
such a call; `clone3` is left out for that reason, since a filter cannot read its flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ARCHITECTURES = ("x86_64", "aarch64")


def _table(text: str) -> Mapping[str, Mapping[str, int]]:
    """By architecture, by name: the number."""
    rows = [row.split(":") for row in text.split()]
    return MappingProxyType(
        {
            architecture: MappingProxyType({row[0]: int(row[place]) for row in rows if row[place] != "-"})
            for place, architecture in enumerate(ARCHITECTURES, 1)
        }
    )


ALLOWED = _table("""
    read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 preadv:295:69 pwritev:296:70
    preadv2:327:286 pwritev2:328:287 open:2:- openat:257:56 close:3:57 close_range:436:436 stat:4:- fstat:5:80
    lstat:6:- newfstatat:262:79 statx:332:291 access:21:- faccessat:269:48 faccessat2:439:439 statfs:137:43
    fstatfs:138:44 poll:7:- ppoll:271:73 select:23:- pselect6:270:72 epoll_create:213:- epoll_create1:291:20
    epoll_ctl:233:21 epoll_wait:232:- epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284:- eventfd2:290:19
    lseek:8:62 mmap:9:222 mprotect:10:226 munmap:11:215 mremap:25:216 madvise:28:233 msync:26:227 mincore:27:232
    brk:12:214 mlock:149:228 mlock2:325:284 munlock:150:229 getpid:39:172 gettid:186:178 getppid:110:173
    getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177 getgroups:115:158 getresuid:118:148
    getresgid:120:150 getpgrp:111:- getpgid:121:155 getsid:124:156 rt_sigaction:13:134 rt_sigprocmask:14:135
    rt_sigreturn:15:139 rt_sigpending:127:136 rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132
    restart_syscall:219:128 pipe:22:- pipe2:293:59 dup:32:23 dup2:33:- dup3:292:24 flock:73:32 fsync:74:82
    fdatasync:75:83 ftruncate:77:46 truncate:76:45 getdents:78:- getdents64:217:61 getcwd:79:17 rename:82:-
    renameat:264:38 renameat2:316:276 unlink:87:- unlinkat:263:35 mkdir:83:- mkdirat:258:34 rmdir:84:-
    readlink:89:- readlinkat:267:78 fallocate:285:47 fadvise64:221:223 copy_file_range:326:285 sendfile:40:71
    futex:202:98 futex_waitv:449:449 set_robust_list:273:99 get_robust_list:274:100 rseq:334:293
    set_tid_address:218:96 membarrier:324:283 sched_yield:24:124 sched_getaffinity:204:123 sched_getparam:143:121
    sched_getscheduler:145:120 sched_getattr:315:275 sched_get_priority_max:146:125 sched_get_priority_min:147:126
    getpriority:140:141 getcpu:309:168 clock_gettime:228:113 clock_getres:229:114 clock_nanosleep:230:115
    nanosleep:35:101 gettimeofday:96:169 time:201:- times:100:153 getrusage:98:165 getrandom:318:278 uname:63:160
    sysinfo:99:179 getrlimit:97:163 exit:60:93 exit_group:231:94 wait4:61:260 waitid:247:95 sendto:44:206
    recvfrom:45:207 sendmsg:46:211 recvmsg:47:212 getsockopt:55:209 getsockname:51:204 shutdown:48:210
    arch_prctl:158:- mbind:237:235 get_mempolicy:239:236 set_mempolicy:238:237 pkey_alloc:330:289 pkey_free:331:290
    pkey_mprotect:329:288 umask:95:166
""")

FILTERED = _table("""
    clone:56:220 kill:62:129 tgkill:234:131 ioctl:16:29 fcntl:72:25 prctl:157:167 prlimit64:302:261
    sched_setaffinity:203:122 setpriority:141:140
""")
"""Allowed with some arguments only: see `cluster.seccomp`."""

DENIED = _table("""
    socket:41:198 socketpair:53:199 connect:42:203 bind:49:200 listen:50:201 accept:43:202 accept4:288:242
    setsockopt:54:208 getpeername:52:205 sendmmsg:307:269 recvmmsg:299:243 fork:57:- vfork:58:- execve:59:221
    execveat:322:281 ptrace:101:117 process_vm_readv:310:270 process_vm_writev:311:271 process_madvise:440:440
    kcmp:312:272 pidfd_open:434:434 pidfd_getfd:438:438 pidfd_send_signal:424:424 tkill:200:130
    rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240 mount:165:40 umount2:166:39 pivot_root:155:41 chroot:161:51
    open_tree:428:428 move_mount:429:429 fsopen:430:430 fsconfig:431:431 fsmount:432:432 fspick:433:433
    mount_setattr:442:442 unshare:272:97 setns:308:268 bpf:321:280 perf_event_open:298:241 userfaultfd:323:282
    io_uring_setup:425:425 io_uring_enter:426:426 io_uring_register:427:427 io_setup:206:0 io_submit:209:2
    keyctl:250:219 add_key:248:217 request_key:249:218 kexec_load:246:104 kexec_file_load:320:294
    init_module:175:105 finit_module:313:273 delete_module:176:106 reboot:169:142 swapon:167:224 swapoff:168:225
    acct:163:89 quotactl:179:60 syslog:103:116 settimeofday:164:170 clock_settime:227:112 clock_adjtime:305:266
    adjtimex:159:171 sethostname:170:161 setdomainname:171:162 iopl:172:- ioperm:173:- open_by_handle_at:304:265
    name_to_handle_at:303:264 personality:135:92 modify_ldt:154:- memfd_create:319:279 memfd_secret:447:447
    fanotify_init:300:262 inotify_init1:294:26 chmod:90:- fchmod:91:52 fchmodat:268:53 chown:92:- fchown:93:55
    lchown:94:- fchownat:260:54 setxattr:188:5 lsetxattr:189:6 fsetxattr:190:7 removexattr:197:14
    lremovexattr:198:15 fremovexattr:199:16 utime:132:- utimes:235:- utimensat:280:88 futimesat:261:- link:86:-
    linkat:265:37 symlink:88:- symlinkat:266:36 mknod:133:- mknodat:259:33 chdir:80:49 fchdir:81:50 setuid:105:146
    setgid:106:144 setreuid:113:145 setregid:114:143 setresuid:117:147 setresgid:119:149 setfsuid:122:151
    setfsgid:123:152 setgroups:116:159 setpgid:109:154 setsid:112:157 capset:126:91 seccomp:317:277
    setrlimit:160:164 shmget:29:194 shmat:30:196 shmctl:31:195 semget:64:190 msgget:68:186 mq_open:240:180
    move_pages:279:239 migrate_pages:256:238 sched_setattr:314:274 sched_setparam:142:118
    sched_setscheduler:144:119 ioprio_set:251:30 vhangup:153:58 landlock_create_ruleset:444:444
    landlock_restrict_self:446:446 timer_create:222:107 splice:275:76 tee:276:77 vmsplice:278:75
""")
"""Answered with EPERM: networks, new processes and programs, other processes, other namespaces, the kernel itself."""

/** What -chardev and -object come to as plans, and what is refused. */

import test from 'ava'
import { quote } from '../../ts/options/words.ts'
import type { RunOptions } from '../../ts/run/options.ts'
import { outcome, planOf, refusal } from './support.ts'

const C0 = 'socket,id=c0,path=/run/c0'
const C1 = 'socket,id=c1,path=/run/c1'
const MIRROR = 'filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=c0'
const INDEV = 'filter-redirector,id=f0,netdev=hn0,queue=tx,indev=c0'

/** A mirror whose chardev has these credentials. */
const secure = (chardev: string, credentials: string): Partial<RunOptions> => ({
  chardev: [chardev],
  object: [`tls-creds-x509,id=t,dir=/etc/pki/qemu${credentials}`, MIRROR],
})

type Case = readonly [options: Partial<RunOptions>, ...comesTo: string[]]

/** One chardev as the outdev of a mirror. */
const through = (chardev: string, address: string, options: Partial<RunOptions> = {}): Case => [
  { chardev: [chardev], object: [MIRROR], ...options },
  `--in-netdev=hn0 --queue=tx ${quote(`--outdev=${address}`)}`,
]

const comesTo: readonly Case[] = [
  through(C0, 'unix:/run/c0'),
  through('socket,id=c0,path=/run/a,,b,server=yes,wait=n', 'unix:/run/a,,b,server'),
  through('socket,id=c0,path=/run/c0,server=on,wait=off,reconnect=1', 'unix:/run/c0,server'),
  through('socket,id=c0,path=/run/c0,server,nowait,nodelay', 'unix:/run/c0,server'),
  through('socket,id=c0,path=/run/c0,notelnet,reconnect=0,abstract=off,tight=off', 'unix:/run/c0'),
  through('socket,id=c0,host=192.0.2.1,port=4000,ipv4=on', 'tcp:192.0.2.1:4000'),
  through('socket,id=c0,host=::1,port=4000,ipv6', 'tcp:[::1]:4000'),
  through('socket,id=c0,host=[::1],port=4000', 'tcp:[::1]:4000'),
  through('socket,id=c0,host=localhost,port=4000,ipv6=on,ipv4=off', 'tcp:[::1]:4000'),
  through('socket,id=c0,host=localhost,port=4000,ipv4=on,ipv6=on', 'tcp:localhost:4000'),
  through('socket,id=c0,port=4000,server=on', 'tcp::4000,server', { insecure: true }),
  through('socket,id=c0,port=4000,server=on,noipv6', 'tcp:0.0.0.0:4000,server', { insecure: true }),
  through('socket,id=c0,fd=5', 'fd:5'),
  through('socket,id=c0,fd=5,server=on,wait=off', 'fd:5'),
  [
    secure('socket,id=c0,host=h,port=4000,tls-creds=t', ',endpoint=client,verify-peer=on'),
    '--in-netdev=hn0 --queue=tx --outdev=tcp:h:4000,tls-creds=/etc/pki/qemu',
  ],
  [
    // Without --insecure: whoever connects shows a certificate.
    secure('socket,id=c0,port=4000,server=on,wait=off,tls-creds=t', ',endpoint=server'),
    '--in-netdev=hn0 --queue=tx --outdev=tcp::4000,server,tls-creds=/etc/pki/qemu',
  ],
  [
    {
      chardev: ['socket,id=c0,host=h,port=4000,tls-creds=t'],
      object: ['tls-creds-x509,id=t,dir=/etc/a,,b', INDEV],
    },
    '--indev=tcp:h:4000,tls-creds=/etc/a,,b --out-netdev=hn0',
  ],
  [{ chardev: [C0], object: [INDEV] }, '--indev=unix:/run/c0 --out-netdev=hn0'],
  [
    // A QEMU keeps what an indev brings for a VM that is stopped.
    { chardev: [C0], object: [INDEV], qmp: 'vm.qmp' },
    '--indev=unix:/run/c0 --out-netdev=hn0 --hold=until-running',
  ],
  [
    { chardev: [C0], object: [`${INDEV},enable_when_stopped=off`], qmp: 'vm.qmp' },
    '--indev=unix:/run/c0 --out-netdev=hn0 --enable-when-stopped=off',
  ],
  [
    { chardev: [C0], object: [INDEV], qmp: 'vm.qmp', onlyWhenStopped: true },
    '--indev=unix:/run/c0 --out-netdev=hn0',
  ],
  [
    { chardev: [C0], object: [`${MIRROR},status=off,vnet_hdr_support=y,enable_when_stopped=on`] },
    '--in-netdev=hn0 --queue=tx --outdev=unix:/run/c0 --vnet-hdr-support=on --status=off --enable-when-stopped=on',
  ],
  [
    { chardev: [C0], object: ['filter-buffer,id=b,netdev=hn0,queue=tx,interval=100000', MIRROR] },
    '--in-netdev=hn0 --queue=tx --outdev=unix:/run/c0 --hold=100',
  ],
  [
    { chardev: [C0], object: [INDEV, 'filter-buffer,id=b,netdev=hn0,interval=1'] },
    '--indev=unix:/run/c0 --out-netdev=hn0 --hold=1',
  ],
  [
    // Frames from the guest pass the last filter first.
    {
      chardev: [C0],
      object: [
        'filter-mirror,id=m0,netdev=hn0,queue=rx,outdev=c0',
        'filter-buffer,id=b,netdev=hn0,queue=rx,interval=5000',
      ],
    },
    '--in-netdev=hn0 --queue=rx --outdev=unix:/run/c0 --hold=5',
  ],
  [
    {
      chardev: [C0],
      object: [MIRROR, 'filter-buffer,id=b,netdev=hn0,interval=5000,position=id=m0,insert=before'],
    },
    '--in-netdev=hn0 --queue=tx --outdev=unix:/run/c0 --hold=5',
  ],
  [
    { chardev: [C0], object: [MIRROR, 'filter-buffer,id=b,netdev=hn0,interval=5000,status=off'] },
    '--in-netdev=hn0 --queue=tx --outdev=unix:/run/c0',
  ],
  [
    // What suits only one of them is given to that one.
    { chardev: [C0, C1], object: [MIRROR, INDEV.replace('c0', 'c1')], latency: 'low', offloads: 'complete' },
    '--in-netdev=hn0 --queue=tx --outdev=unix:/run/c0',
    '--indev=unix:/run/c1 --out-netdev=hn0',
  ],
]

for (const [{ chardev = [], object = [], ...others }, ...commands] of comesTo) {
  test(`comes to the same: ${[...chardev, ...object].join(' ')} ${JSON.stringify(others)}`, t => {
    t.deepEqual(outcome({ chardev, object, ...others }), commands)
  })
}

test('a plan is that of its options', t => {
  const [plan] = planOf({ chardev: ['socket,id=c0,path=/run/c0,server'], object: [MIRROR] }).plans
  t.like(plan, {
    object: { id: 'm0' },
    input: { kind: 'netdev', name: 'hn0' },
    output: { kind: 'stream', address: { kind: 'unix', path: '/run/c0' }, server: true },
    queue: 'tx',
    whenStopped: 'off',
  })
})

test('the command keeps the other words of the command line', t => {
  const argv = ['-chardev', C0, `--object=${MIRROR}`, '--qmp', '/run/my vm.qmp', '--dry-run', '--wait']
  const { plans } = planOf({ chardev: [C0], object: [MIRROR], qmp: '/run/my vm.qmp', wait: true }, argv)
  t.is(
    plans[0]?.object?.command,
    "tapferry run --in-netdev=hn0 --queue=tx --outdev=unix:/run/c0 --qmp '/run/my vm.qmp' --wait",
  )
})

test('what is left out or differs a little is told', t => {
  const { notes } = planOf({
    chardev: [C0, C1, 'pty,id=p'],
    object: [
      'iothread,id=t',
      'tls-creds-x509,id=x,dir=/etc/pki/qemu',
      'filter-buffer,id=b,netdev=hn0,interval=1500',
      `${MIRROR},position=id=rew0`,
      INDEV.replace('c0', 'c1,position=head'),
    ],
  })
  t.deepEqual(notes, [
    "iothread 't': left out, it has no part in frames",
    "tls-creds-x509 'x': left out, no stream uses it",
    "chardev 'p': left out, no object uses it",
    "filter-buffer 'b': holds the copies; what the guest gets or sends is not held",
    "filter-buffer 'b': an interval of 2 ms, the next longer one",
    "filter-mirror 'm0': position=id=rew0 is none of these objects; tapferry is outside of the filters of a VM",
    "filter-mirror 'm0': does not copy what filter-redirector 'f0' brings; tapferry captures no frame of its own",
  ])
})

type Refused = readonly [options: Partial<RunOptions>, message: RegExp, hint?: RegExp]

const object = (...objects: string[]): Partial<RunOptions> => ({ chardev: [C0, C1], object: objects })
const chardev = (...chardevs: string[]): Partial<RunOptions> => ({ chardev: chardevs, object: [MIRROR] })

const invalid: readonly Refused[] = [
  [object('filter-mirror,netdev=hn0,outdev=c0'), /no id specified$/],
  [object('filter-mirror,id=0m,netdev=hn0,outdev=c0'), /'0m' is no id$/, /starts with a letter/],
  [object('filter-miror,id=m0'), /QEMU has no object 'filter-miror'$/, /did you mean filter-mirror\?/],
  [object('{"qom-type":'), /begins like JSON and is none$/],
  [object('filter-mirror,id=m0,outdev=c0'), /^filter-mirror 'm0': netdev is missing$/, /netdev=hn0/],
  [object('filter-mirror,id=m0,netdev=hn0'), /^filter-mirror 'm0': outdev is missing$/],
  [object('filter-redirector,id=f,netdev=hn0'), /needs 'indev' or 'outdev', at least one property set$/],
  [object('filter-redirector,id=f,netdev=hn0,indev=c0,outdev=c0'), /'indev' and 'outdev' could not be same/],
  [
    object(`${MIRROR},vnet-hdr-support=on`),
    /has no property 'vnet-hdr-support'$/,
    /did you mean vnet_hdr_support\?/,
  ],
  [object(`${MIRROR},vnet_hdr_support=maybe`), /vnet_hdr_support=maybe is neither on nor off$/],
  [object(`${MIRROR},queue=up`), /queue=up$/, /queue=all or queue=rx or queue=tx/],
  [object(`${MIRROR},status=maybe`), /Invalid value for netfilter status, should be 'on' or 'off'$/],
  [object(`${MIRROR},position=middle`), /position expects 'head', 'tail' or 'id=<id>'$/],
  [object(`${MIRROR},insert=middle`), /insert=middle$/],
  [object('filter-buffer,id=b,netdev=hn0'), /interval is missing$/, /microseconds/],
  [object('filter-buffer,id=b,netdev=hn0,interval=0'), /interval requires a positive value$/],
  [object('filter-buffer,id=b,netdev=hn0,interval=1s'), /interval=1s is no whole number$/],
  [object(MIRROR, MIRROR), /Duplicate ID 'm0' for object$/],
  [
    object(MIRROR, MIRROR.replace('m0', 'm1')),
    /^filter-mirror 'm1': Device 'c0' is in use by filter-mirror 'm0'$/,
  ],
  [object(MIRROR.replace('c0', 'c2')), /Device 'c2' not found$/, /did you mean c0\?/],
  [chardev('socket,path=/run/c0'), /no id specified$/],
  [chardev(C0, C0), /Duplicate ID 'c0' for chardev$/],
  [chardev('sockt,id=c0'), /'sockt' is not a valid char driver name$/, /did you mean socket\?/],
  [chardev('tcp,id=c0,host=h,port=1'), /'tcp' is not a valid char driver name$/],
  [chardev('socket,id=c0'), /one of 'path', 'fd' and 'host' is required$/],
  [chardev('socket,id=c0,path=/x,host=h,port=1'), /one of 'path', 'fd' and 'host' is required$/],
  [chardev('socket,id=c0,host=h'), /no port given$/],
  [chardev('socket,id=c0,host=h,port=1,ipv4=off,ipv6=off'), /cannot disable IPv4 and IPv6 at same time$/],
  [chardev('socket,id=c0,host=::1,port=1,ipv4=on'), /host=::1 is no address of IPv4$/],
  [chardev('socket,id=c0,path=/x,servr=on'), /has no property 'servr'$/, /did you mean server\?/],
  [
    {
      chardev: ['socket,id=c0,path=/x,server', 'socket,id=c1,path=/x,server'],
      object: [MIRROR, MIRROR.replace('m0', 'm1').replace('c0', 'c1')],
    },
    /^chardev 'c1': chardev 'c0' has unix:\/x,server already$/,
    /of two ends one is the server/,
  ],
  [
    secure('socket,id=c0,port=1,server,tls-creds=tls', ',endpoint=server'),
    /^filter-mirror 'm0': No TLS credentials with id 'tls'$/,
    /^add --object tls-creds-x509,id=tls,dir=DIR,endpoint=server$/,
  ],
  [secure('socket,id=c0,host=h,port=1,tls-creds=m0', ''), /Object with id 'm0' is not TLS credentials$/],
  [
    secure('socket,id=c0,host=h,port=1,tls-creds=t', ',endpoint=server'),
    /^filter-mirror 'm0': Expected TLS credentials for client endpoint$/,
    /^write tls-creds-x509 't' with endpoint=client, or one more for it$/,
  ],
]

const unsupported: readonly Refused[] = [
  [
    object('filter-redirector,id=r,netdev=hn0,queue=rx,outdev=c0,vnet_hdr_support'),
    /^filter-redirector 'r': its outdev takes frames away .* copies here: they would leave the guest as well$/,
    /--object filter-mirror,id=r,netdev=hn0,queue=rx,outdev=c0,vnet_hdr_support=on$/,
  ],
  [
    object('filter-redirector,id=r,netdev=hn0,indev=c0,outdev=c1'),
    /they would go on as well$/,
    /filter-mirror,id=r,netdev=hn0,outdev=c1\nand for its indev: --object filter-redirector,id=r-indev,netdev=hn0,indev=c0,queue=tx$/,
  ],
  [
    object(INDEV.replace('tx', 'rx')),
    /queue=rx puts frames where/,
    /queue=tx,indev=c0\n.*--out-netdev BRIDGE/,
  ],
  [object(INDEV.replace('queue=tx,', '')), /queue=all, QEMU's default,/],
  [
    object(`${INDEV},in_netdev=hn0,out_netdev=tapB`),
    /options of their own here$/,
    /--in-netdev hn0 --out-netdev tapB/,
  ],
  [
    object(MIRROR, 'filter-buffer,id=b,netdev=hn0,interval=1'),
    /^filter-buffer 'b': it would hold what the guest/,
  ],
  [
    object('filter-buffer,id=b,netdev=hn0,interval=1', MIRROR.replace('tx', 'all')),
    /^filter-mirror 'm0': filter-buffer 'b' would hold only its frames in one direction$/,
  ],
  [
    object('filter-buffer,id=b,netdev=hn0,interval=1', 'filter-buffer,id=d,netdev=hn0,interval=1', MIRROR),
    /^filter-mirror 'm0': its frames would be held by filter-buffer 'b' and filter-buffer 'd'$/,
  ],
  [{ chardev: [C0] }, /^--chardev: no object here takes or gives frames$/, /--object filter-mirror/],
  [chardev('socket,id=c0,path=x,abstract=on'), /abstract=on: tapferry has sockets in the file system only$/],
  [chardev('socket,id=c0,path=/x,telnet'), /telnet=on would change the bytes of frames$/],
  [chardev('socket,id=c0,path=/x,websocket=on'), /websocket=on would change/],
  [chardev('socket,id=c0,path=/x,mux=on'), /mux=on is for several users/],
  [chardev('socket,id=c0,port=1,to=5,server'), /to= leaves open which port it will be$/],
  [
    secure('socket,id=c0,host=h,port=1,tls-creds=t', ',endpoint=client,verify-peer=off'),
    /^tls-creds-x509 't': verify-peer=off would let anybody be the peer$/,
  ],
  [secure('socket,id=c0,host=h,port=1,tls-creds=t', ',priority=NORMAL'), /priority= is a text of GnuTLS$/],
  [secure('socket,id=c0,host=h,port=1,tls-creds=t', ',passwordid=s'), /passwordid= is for a key with a/],
  [chardev('socket,id=c0,path=/x,logfile=/y'), /logfile= is not written$/],
  [chardev('socket,id=c0,path=/x,tls-authz=a'), /tls-authz= cannot be asked here$/],
  [chardev('socket,id=c0,host=example.org,port=1,ipv4'), /host=example.org is a name/, /an address of IPv4/],
]

for (const [code, cases] of [
  ['QEMU_OPTION_INVALID', invalid],
  ['QEMU_OPTION_UNSUPPORTED', unsupported],
] as const) {
  for (const [options, message, hint = /./] of cases) {
    test(`${code}: ${[...(options.chardev ?? []), ...(options.object ?? [])].join(' ')}`, t => {
      const error = refusal(options)
      t.is(error.code, code)
      t.regex(error.message, message)
      t.regex(error.hint ?? '', hint)
    })
  }
}

test('TLS on a unix socket is refused, as in QEMU', t => {
  const error = refusal(secure('socket,id=c0,path=/x,tls-creds=t', ''))
  t.regex(error.message, /^filter-mirror 'm0': --outdev: .*: it wants TLS on a unix socket$/)
})

test('what tapferry itself refuses names the object', t => {
  const error = refusal({ chardev: ['socket,id=c0,host=0.0.0.0,port=9003,server,nowait'], object: [MIRROR] })
  t.is(error.code, 'USAGE')
  t.regex(error.message, /^filter-mirror 'm0': --outdev: tcp:0.0.0.0:9003 would let other hosts connect/)
})

test('an option that the objects say does not go with them', t => {
  const error = refusal({ chardev: [C0], object: [MIRROR], queue: 'rx' })
  t.regex(error.message, /^--queue does not go with --chardev and --object/)
})

test('all objects that cannot be had are told at once', t => {
  const error = refusal(
    object(MIRROR, 'filter-redirector,id=r,netdev=hn0,outdev=c1', 'filter-rewriter,id=w,netdev=hn0'),
  )
  t.is(error.message, '2 of 3 objects cannot be had here as they are')
  t.regex(
    error.hint ?? '',
    /^filter-rewriter 'w': .*\n {2}leave it.*\nfilter-redirector 'r': .*\n {2}if copies will do/s,
  )
})

/**
 * Every -chardev and -object line of QEMU's documentation of COLO and of its filters, and what each comes to: the same in
 * tapferry's own options, or why not. docs/COLO-FT.txt, docs/colo-proxy.txt, the manual (qemu-options.hx) and the
 * filters' own tests (tests/qtest/test-filter-*.c, test-netfilter.c), of QEMU 7.2 and later.
 */

import test from 'ava'
import { outcome, refusal } from './support.ts'

interface Document {
  readonly chardevs: readonly string[]
  /** Each object alone, and what it comes to. */
  readonly objects: readonly (readonly [object: string, comesTo: string | RegExp])[]
}

const COPIES =
  /^QEMU_OPTION_UNSUPPORTED filter-redirector '\S+': its outdev takes frames away from \S+ in QEMU, /
const FROM_GUEST =
  /^QEMU_OPTION_UNSUPPORTED filter-redirector '\S+': queue=rx puts frames where those of the guest/
const NO_FRAMES = /^QEMU_OPTION_UNSUPPORTED iothread 'iothread1': no object here takes or gives frames$/
const COMPARES = /^QEMU_OPTION_UNSUPPORTED colo-compare 'comp0': it compares what two VMs send/
const REWRITES = /^QEMU_OPTION_UNSUPPORTED filter-rewriter '\S+': it changes the TCP numbers of frames/

const proxyPrimary = (flag: string, iothread: string): Document => ({
  chardevs: [
    'socket,id=mirror0,host=3.3.3.3,port=9003,server=on,wait=off',
    'socket,id=compare1,host=3.3.3.3,port=9004,server=on,wait=off',
    'socket,id=compare0,host=3.3.3.3,port=9001,server=on,wait=off',
    'socket,id=compare0-0,host=3.3.3.3,port=9001',
    'socket,id=compare_out,host=3.3.3.3,port=9005,server=on,wait=off',
    'socket,id=compare_out0,host=3.3.3.3,port=9005',
    'socket,id=notify_way,host=3.3.3.3,port=9009,server=on,wait=off',
  ],
  objects: [
    ['iothread,id=iothread1', NO_FRAMES],
    [
      `filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=mirror0${flag}`,
      `--in-netdev=hn0 --queue=tx --outdev=tcp:3.3.3.3:9003,server${flag && ' --vnet-hdr-support=on'}`,
    ],
    [`filter-redirector,netdev=hn0,id=redire0,queue=rx,indev=compare_out${flag}`, FROM_GUEST],
    [`filter-redirector,netdev=hn0,id=redire1,queue=rx,outdev=compare0${flag}`, COPIES],
    [
      `colo-compare,id=comp0,primary_in=compare0-0,secondary_in=compare1,outdev=compare_out0${iothread}${flag}`,
      COMPARES,
    ],
  ],
})

const proxySecondary = (flag: string): Document => ({
  chardevs: ['socket,id=red0,host=3.3.3.3,port=9003', 'socket,id=red1,host=3.3.3.3,port=9004'],
  objects: [
    [
      `filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0${flag}`,
      `--indev=tcp:3.3.3.3:9003 --out-netdev=hn0${flag && ' --vnet-hdr-support=on'}`,
    ],
    [`filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1${flag}`, COPIES],
    [`filter-rewriter,id=f3,netdev=hn0,queue=all${flag}`, REWRITES],
  ],
})

/** QMP's chardev-add, as COLO-FT.txt has it. */
const added = (id: string, host: string, port: string, server: boolean): string =>
  `{'id': '${id}', 'backend': {'type': 'socket', 'data': {'addr': { 'type': 'inet', 'data': ` +
  `{ 'host': '${host}', 'port': '${port}' } }, 'server': ${server} } } }`

const FAILOVER = [
  added('mirror0', '0.0.0.0', '9003', true),
  added('compare1', '0.0.0.0', '9004', true),
  added('compare0', '127.0.0.1', '9001', true),
  added('compare0-0', '127.0.0.1', '9001', false),
  added('compare_out', '127.0.0.1', '9005', true),
  added('compare_out0', '127.0.0.1', '9005', false),
]

/** QMP's object-add, with the properties in `props` (before 6.0) or beside it. */
const resumed = (type: string, id: string, props: string, flat: boolean): string =>
  flat
    ? `{'qom-type': '${type}', 'id': '${id}', ${props} }`
    : `{'qom-type': '${type}', 'id': '${id}', 'props': { ${props} } }`

const resume = (position: string, flat: boolean): Document => ({
  chardevs: FAILOVER,
  objects: [
    [
      resumed('filter-mirror', 'm0', `${position}'netdev': 'hn0', 'queue': 'tx', 'outdev': 'mirror0'`, flat),
      '--in-netdev=hn0 --queue=tx --outdev=tcp:0.0.0.0:9003,server',
    ],
    [
      resumed(
        'filter-redirector',
        'redire0',
        `${position}'netdev': 'hn0', 'queue': 'rx', 'indev': 'compare_out'`,
        flat,
      ),
      FROM_GUEST,
    ],
    [
      resumed(
        'filter-redirector',
        'redire1',
        `${position}'netdev': 'hn0', 'queue': 'rx', 'outdev': 'compare0'`,
        flat,
      ),
      COPIES,
    ],
    ["{'qom-type': 'iothread', 'id': 'iothread1' }", NO_FRAMES],
    [
      resumed(
        'colo-compare',
        'comp0',
        "'primary_in': 'compare0-0', 'secondary_in': 'compare1', 'outdev': 'compare_out0'",
        flat,
      ),
      COMPARES,
    ],
  ],
})

const PATHS = {
  chardevs: [
    'socket,id=mirror0,path=filter-mirror.sock,server=on,wait=off',
    'socket,id=redirector0,path=/tmp/r0.sock,server=on,wait=off',
    'socket,id=redirector1,path=/tmp/r1.sock,server,nowait',
    'socket,id=redirector2,path=/tmp/r0.sock',
    'socket,id=indev0,fd=5',
    'socket,id=chardev0,path=/tmp/c.sock,server=on,wait=off',
  ],
}

const documents: Readonly<Record<string, Document>> = {
  'COLO-FT, primary': {
    chardevs: [
      'socket,id=mirror0,host=0.0.0.0,port=9003,server,nowait',
      'socket,id=compare1,host=0.0.0.0,port=9004,server,wait',
      'socket,id=compare0,host=127.0.0.1,port=9001,server,nowait',
      'socket,id=compare0-0,host=127.0.0.1,port=9001',
      'socket,id=compare_out,host=127.0.0.1,port=9005,server,nowait',
      'socket,id=compare_out0,host=127.0.0.1,port=9005',
    ],
    objects: [
      [
        'filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=mirror0',
        '--in-netdev=hn0 --queue=tx --outdev=tcp:0.0.0.0:9003,server',
      ],
      ['filter-redirector,netdev=hn0,id=redire0,queue=rx,indev=compare_out', FROM_GUEST],
      ['filter-redirector,netdev=hn0,id=redire1,queue=rx,outdev=compare0', COPIES],
      ['iothread,id=iothread1', NO_FRAMES],
      [
        'colo-compare,id=comp0,primary_in=compare0-0,secondary_in=compare1,outdev=compare_out0,iothread=iothread1',
        COMPARES,
      ],
    ],
  },
  'COLO-FT, secondary': {
    chardevs: [
      'socket,id=red0,host=127.0.0.1,port=9003,reconnect=1',
      'socket,id=red1,host=127.0.0.1,port=9004,reconnect=1',
    ],
    objects: [
      [
        'filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0',
        '--indev=tcp:127.0.0.1:9003 --out-netdev=hn0 --wait',
      ],
      ['filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1', COPIES],
      ['filter-rewriter,id=rew0,netdev=hn0,queue=all', REWRITES],
    ],
  },
  'COLO-FT since 9.2, secondary': {
    chardevs: ['socket,id=red0,host=127.0.0.1,port=9003,reconnect-ms=1000'],
    objects: [
      [
        'filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0',
        '--indev=tcp:127.0.0.1:9003 --out-netdev=hn0 --wait',
      ],
    ],
  },
  'COLO-FT, resume replication': resume('', false),
  "COLO-FT, resume as another's secondary": resume("'insert': 'before', 'position': 'id=rew0', ", false),
  'COLO-FT since 6.0, resume replication': resume('', true),
  'colo-proxy, primary': proxyPrimary('', ',iothread=iothread1'),
  'colo-proxy, primary with vnet_hdr_support': proxyPrimary(',vnet_hdr_support', ''),
  'the manual, primary of Xen COLO': proxyPrimary('', ',notify_dev=nofity_way,iothread=iothread1'),
  'colo-proxy, secondary': proxySecondary(''),
  'colo-proxy, secondary with vnet_hdr_support': proxySecondary(',vnet_hdr_support'),
  'the manual, filters': {
    ...PATHS,
    objects: [
      [
        'filter-buffer,id=f0,netdev=hn0,interval=1000,queue=all,status=on,position=head,insert=behind',
        /^QEMU_OPTION_UNSUPPORTED filter-buffer 'f0': it would hold what the guest on hn0 itself gets/,
      ],
      [
        'filter-mirror,id=m0,netdev=hn0,outdev=redirector0,queue=all,vnet_hdr_support=on,position=tail',
        '--in-netdev=hn0 --queue=all --outdev=unix:/tmp/r0.sock,server --vnet-hdr-support=on',
      ],
      [
        'filter-mirror,id=m0,netdev=hn0,outdev=redirector0',
        '--in-netdev=hn0 --queue=all --outdev=unix:/tmp/r0.sock,server',
      ],
      ['filter-redirector,id=r0,netdev=hn0,indev=redirector0,outdev=redirector1,queue=tx', COPIES],
      [
        'filter-redirector,id=r0,netdev=hn0,indev=redirector0',
        /^QEMU_OPTION_UNSUPPORTED filter-redirector 'r0': queue=all, QEMU's default, puts each frame in both ways/,
      ],
      ['filter-rewriter,id=rew0,netdev=hn0,queue=all,vnet_hdr_support', REWRITES],
      [
        'filter-dump,id=d0,netdev=hn0,file=net.pcap,maxlen=1500,position=tail',
        /^QEMU_OPTION_UNSUPPORTED filter-dump 'd0': a recording of the VM's frames is not tapferry's$/,
      ],
      [
        'filter-replay,id=replay,netdev=net1',
        /^QEMU_OPTION_UNSUPPORTED filter-replay 'replay': it belongs to QEMU's record and replay$/,
      ],
      ['iothread,id=iothread1,poll-max-ns=32768,poll-grow=0,poll-shrink=0,aio-max-batch=0', NO_FRAMES],
      [
        'can-bus,id=canbus0',
        /^QEMU_OPTION_UNSUPPORTED can-bus 'canbus0': no object here takes or gives frames$/,
      ],
      [
        'can-host-socketcan,id=canhost0,if=can0,canbus=canbus0',
        /^QEMU_OPTION_UNSUPPORTED can-host-socketcan 'canhost0': no object here/,
      ],
      [
        'tls-creds-x509,id=tls0,endpoint=server,dir=/etc/pki/qemu,verify-peer=on',
        /^QEMU_OPTION_UNSUPPORTED tls-creds-x509 'tls0': no object here/,
      ],
      [
        'tls-creds-psk,id=tls0,dir=/tmp/keys,endpoint=client,username=u,verify-peer=on',
        /^QEMU_OPTION_UNSUPPORTED tls-creds-psk 'tls0': tapferry knows certificates only$/,
      ],
      [
        'tls-creds-anon,id=tls0,endpoint=server,verify-peer=off',
        /^QEMU_OPTION_UNSUPPORTED tls-creds-anon 'tls0'/,
      ],
    ],
  },
  "the filters' own tests": {
    ...PATHS,
    objects: [
      [
        'filter-mirror,id=qtest-f0,netdev=qtest-bn0,queue=tx,outdev=redirector1',
        '--in-netdev=qtest-bn0 --queue=tx --outdev=unix:/tmp/r1.sock,server',
      ],
      ['filter-redirector,id=qtest-f0,netdev=qtest-bn0,queue=tx,outdev=redirector0', COPIES],
      [
        'filter-redirector,id=qtest-f1,netdev=qtest-bn0,queue=tx,indev=redirector2',
        '--indev=unix:/tmp/r0.sock --out-netdev=qtest-bn0',
      ],
      ['filter-redirector,id=qtest-f1,netdev=qtest-bn0,queue=rx,indev=redirector2', FROM_GUEST],
      ['filter-redirector,id=rd0,netdev=bn0,queue=rx,indev=indev0,position=tail', FROM_GUEST],
      [
        'filter-redirector,id=rd0,netdev=bn0,queue=tx,indev=indev0,status=off',
        '--indev=fd:5 --out-netdev=bn0 --status=off',
      ],
      [
        'filter-buffer,id=fb0,netdev=bn0,queue=rx,interval=1000000,position=head',
        /^QEMU_OPTION_UNSUPPORTED filter-buffer 'fb0'/,
      ],
    ],
  },
}

for (const [name, { chardevs, objects }] of Object.entries(documents)) {
  for (const [object, comesTo] of objects) {
    test(`${name}: ${object}`, t => {
      // A server that other hosts reach is allowed in so many words only; a descriptor and a client do not need it.
      const needsLeave = /mirror0/.test(object)
      const result = outcome({
        chardev: [...chardevs],
        object: [object],
        ...(needsLeave ? { insecure: true } : {}),
      })
      if (typeof comesTo === 'string') t.deepEqual(result, [comesTo])
      else t.regex(result.join('\n'), comesTo)
    })
  }
}

/** Back ends of the manual other than a socket: each explains itself when a filter names it. */
const backends = [
  'null,id=c',
  'udp,id=c,host=192.0.2.1,port=4000,localaddr=0.0.0.0,localport=4001,ipv4=on',
  'msmouse,id=c',
  'vc,id=c,width=640,height=480',
  'ringbuf,id=c,size=64K',
  'file,id=c,path=/tmp/out',
  'pipe,id=c,path=/tmp/pipe',
  'console,id=c',
  'serial,id=c,path=/dev/ttyS0',
  'tty,id=c,path=/dev/ttyS0',
  'pty,id=c',
  'stdio,id=c,signal=off',
  'stdio,mux=on,id=c',
  'braille,id=c',
  'parallel,id=c,path=/dev/parport0',
  'parport,id=c,path=/dev/parport0',
  'spicevmc,id=c,debug=0,name=vdagent',
  'spiceport,id=c,debug=0,name=org.example',
  'qemu-vdagent,id=c,clipboard=on',
]

for (const chardev of backends) {
  test(`the manual: -chardev ${chardev}`, t => {
    const error = refusal({ chardev: [chardev], object: ['filter-mirror,id=m,netdev=hn0,outdev=c'] })
    t.is(error.code, 'QEMU_OPTION_UNSUPPORTED')
    t.is(error.exitStatus, 2)
    t.regex(
      error.message,
      /^chardev 'c': back end '[\w-]+' is no socket, and frames travel over sockets only$/,
    )
    t.truthy(error.hint)
  })
}

/** What --indev and --outdev take for datagrams, and what they say to the rest. */

import test from 'ava'
import { TapferryError } from '../../ts/errors.ts'
import { formatDatagramAddress, parseDatagramAddress } from '../../ts/stream/datagrams.ts'
import { tapferry } from '../support/cli.ts'

type Flag = '--indev' | '--outdev'

const udp = (host: string, port: number) => ({ kind: 'udp', host, port }) as const
const unix = (path: string) => ({ kind: 'unix', path }) as const

const understood: readonly (readonly [flag: Flag, text: string, to: object, from?: object])[] = [
  ['--indev', 'dgram:localhost:4000', udp('localhost', 4000)],
  ['--indev', 'dgram::4000', udp('', 4000)],
  ['--indev', 'dgram:[::1]:4000,remote=[::1]:4001', udp('::1', 4000), { host: '::1', port: 4001 }],
  ['--outdev', 'dgram:192.0.2.1:4000,local=:4001', udp('192.0.2.1', 4000), { host: '', port: 4001 }],
  ['--outdev', 'dgram:unix:/run/a,,b', unix('/run/a,b')],
  ['--indev', 'dgram:unix:a', unix(`${process.cwd()}/a`)],
  ['--outdev', 'dgram:223.0.0.1:1', udp('223.0.0.1', 1)],
]

for (const [flag, text, to, from] of understood) {
  test(`${flag} understands ${text}`, t => {
    t.deepEqual(parseDatagramAddress(text, flag), { kind: 'dgram', to, from } as never)
  })
}

const refused: readonly (readonly [flag: Flag, text: string, why: RegExp, hint: RegExp])[] = [
  ['--indev', 'dgram:', /is no dgram:HOST:PORT$/, /write dgram:localhost:4000/],
  ['--indev', 'dgram:h:0', /no port between 1 and 65535$/, /dgram:HOST:PORT/],
  ['--indev', 'dgram:unix:', /names no path$/, /dgram:unix:/],
  ['--indev', `dgram:unix:/${'a'.repeat(107)}`, /at most 107$/, /shorter/],
  ['--outdev', 'dgram::4000', /names no host to send to$/, /dgram:localhost:4000/],
  ['--indev', 'dgram:h:1,local=h:2', /says local, and that is the address itself$/, /,remote=HOST:PORT/],
  ['--outdev', 'dgram:h:1,remote=h:2', /says remote, and that is the address itself$/, /,local=HOST:PORT/],
  ['--indev', 'dgram:h:1,remote=h', /is no remote=HOST:PORT$/, /remote=localhost:4000/],
  ['--indev', 'dgram:unix:/a,remote=h:1', /a unix socket has no use for it$/, /mode/],
  [
    '--indev',
    'dgram:h:1,vnet-hdr-support=on',
    /has the option 'vnet-hdr-support'$/,
    /without a virtio-net header/,
  ],
  ['--indev', 'dgram:h:1,server', /has no option 'server'$/, /remote=HOST:PORT/],
  ['--outdev', 'dgram:h:1,local=h:2,x', /says more than one thing behind the address: x$/, /for example/],
  ['--indev', 'dgram:230.0.0.1:1234', /multicast group, 230\.0\.0\.1/, /local and remote/],
  ['--outdev', 'dgram:[ff02::1]:1234', /multicast group/, /local and remote/],
  ['--indev', 'dgram:\0', /zero byte/, /for example/],
]

for (const [flag, text, why, hint] of refused) {
  test(`${flag} refuses ${text.length > 60 ? `${text.slice(0, 20)}...` : text}`, t => {
    const error = t.throws(() => parseDatagramAddress(text, flag), { instanceOf: TapferryError })
    t.is(error.code, 'STREAM_ADDRESS_INVALID')
    t.true(error.message.startsWith(`${flag}: invalid address '${text}': it `), error.message)
    t.regex(error.message, why)
    t.regex(error.hint ?? '', hint)
  })
}

test('an address is written as it is read', t => {
  for (const text of ['dgram:unix:/run/a.sock', 'dgram:h:4000', 'dgram:[::1]:4000']) {
    t.is(formatDatagramAddress(parseDatagramAddress(text, '--indev')), text)
  }
})

const contradictions: readonly (readonly [args: readonly string[], why: RegExp])[] = [
  [['--indev=dgram::4000', '--out-netdev=b'], /would let other hosts send frames.*\n.*--insecure$/m],
  [
    ['--in-netdev=a', '--outdev=dgram:192.0.2.1:4000', '--insecure'],
    /--insecure is for a TCP server or a dgram indev/,
  ],
  [['--indev=dgram:h:1', '--outdev=dgram:h:1', '--insecure'], /could not be same: both are dgram:h:1/],
  [
    ['--in-netdev=a', '--outdev=dgram:h:1', '--vnet-hdr-len=12'],
    /--vnet-hdr-len needs a stream as --indev or --outdev, and neither end is one/,
  ],
  [['--indev=dgram:unix:/a', '--out-netdev=b', '--queue=rx'], /--queue is for --in-netdev/],
]

for (const [args, why] of contradictions) {
  test(`is a contradiction: ${args.join(' ')}`, async t => {
    const { status, stderr } = await tapferry('run', ...args)
    t.is(status, 2)
    t.regex(stderr, why)
  })
}

test('--dry-run tells both ends of the way', async t => {
  const args = ['--indev=dgram:localhost:1,remote=h:2', '--outdev=dgram:h:3,local=:4', '--dry-run']
  const { stdout } = await tapferry('run', ...args)
  t.regex(stdout, /^indev +dgram:localhost:1 \(datagrams from h:2 alone\)$/m)
  t.regex(stdout, /^outdev +dgram:h:3 \(datagrams from :4, whoever is there\)$/m)
  t.regex(stdout, /^offloads +completed$/m)
})

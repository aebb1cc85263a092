/** What --indev and --outdev take, and what they say to the rest. */

import test from 'ava'
import fc from 'fast-check'
import { TapferryError } from '../../ts/errors.ts'
import { formatStreamAddress, isLoopback, parseStreamEnd, type StreamEnd } from '../../ts/stream/address.ts'
import { tapferry } from '../support/cli.ts'

const parse = (text: string): StreamEnd => parseStreamEnd(text, '--indev')

const unix = (path: string) => ({ kind: 'unix', path }) as const
const tcp = (host: string, port: number) => ({ kind: 'tcp', host, port }) as const

const understood: readonly (readonly [text: string, end: Partial<StreamEnd>])[] = [
  ['unix:/run/a.sock', { address: unix('/run/a.sock'), server: false, vnetHdrSupport: undefined }],
  ['unix:/run/a.sock,server', { address: unix('/run/a.sock'), server: true }],
  ['unix:/run/a.sock,server=on', { server: true }],
  ['unix:/run/a.sock,server=off', { server: false }],
  ['unix:/run/a.sock,vnet-hdr-support=on,server', { server: true, vnetHdrSupport: true }],
  ['unix:/run/a.sock,vnet-hdr-support', { vnetHdrSupport: true }],
  ['unix:/run/a.sock,vnet-hdr-support=off', { vnetHdrSupport: false, vnetHdrLength: undefined }],
  ['unix:/run/a.sock,vnet-hdr-len=12', { vnetHdrSupport: undefined, vnetHdrLength: 12 }],
  ['unix:/run/a=b:c d', { address: unix('/run/a=b:c d') }],
  ['unix:/run/a,,server', { address: unix('/run/a,server'), server: false }],
  ['unix:/run/a,,,server', { address: unix('/run/a,'), server: true }],
  ['unix:a.sock', { address: unix(`${process.cwd()}/a.sock`) }],
  ['unix:./x/../a.sock', { address: unix(`${process.cwd()}/a.sock`) }],
  ['unix:tcp:1', { address: unix(`${process.cwd()}/tcp:1`) }],
  ['tcp:localhost:4000', { address: tcp('localhost', 4000), server: false }],
  ['tcp:192.0.2.1:1', { address: tcp('192.0.2.1', 1) }],
  ['tcp:[::1]:65535', { address: tcp('::1', 65_535) }],
  ['tcp:[fe80::1%eth0]:4000,server', { address: tcp('fe80::1%eth0', 4000), server: true }],
  ['tcp::4000,server', { address: tcp('', 4000), server: true }],
  ['tcp:h:1,tls-creds=/etc/tls,server', { server: true, tlsCreds: '/etc/tls' }],
  ['tcp:h:1,tls-creds=certs/a,,b', { tlsCreds: `${process.cwd()}/certs/a,b` }],
  ['fd:3,tls-creds=/etc/tls', { tlsCreds: '/etc/tls' }],
  ['fd:3', { address: { kind: 'fd', fd: 3 }, server: false }],
  ['fd:12,vnet-hdr-support=on', { address: { kind: 'fd', fd: 12 }, vnetHdrSupport: true }],
]

for (const [text, end] of understood) {
  test(`is understood: ${text}`, t => {
    t.like(parse(text), end)
  })
}

const refused: readonly (readonly [text: string, why: RegExp, hint: RegExp])[] = [
  ['', /starts with none of unix:, tcp:, fd: and dgram:$/, /for example: unix:/],
  ['/run/a.sock', /starts with none of/, /write unix:\/run\/a\.sock$/],
  ['localhost:4000', /starts with none of/, /tcp:192/],
  ['vsock:1:2', /starts with none of/, /for example/],
  ['unix:', /names no path$/, /for example/],
  ['unix:,server', /names no path$/, /for example/],
  [
    `unix:/${'a'.repeat(107)}`,
    /is a path of 108 bytes, and that of a unix socket has at most 107$/,
    /shorter/,
  ],
  ['unix:/run/\0', /zero byte/, /for example/],
  [
    'unix:/run/a,b',
    /has no option 'b'$/,
    /options are server, vnet-hdr-support, vnet-hdr-len, tls-creds; a comma of the path is written twice/,
  ],
  ['unix:/run/a,', /has no option ''$/, /options are/],
  ['unix:/run/a,sever', /has no option 'sever'$/, /did you mean server\?/],
  ['unix:/run/a,vnet_hdr_support=on', /has no option 'vnet_hdr_support'$/, /did you mean vnet-hdr-support\?/],
  ['unix:/run/a,server=on,wait=off', /has the option 'wait'$/, /leave it out/],
  ['tcp:h:1,reconnect=1', /has the option 'reconnect'$/, /leave it out/],
  ['unix:/run/a,server=yes', /says server=yes$/, /server=on or server=off/],
  ['unix:/run/a,server,server=on', /says server twice$/, /once/],
  ['unix:/run/a,tls-creds=/etc/tls', /wants TLS on a unix socket$/, /as QEMU does/],
  ['tcp:h:1,tls-creds', /says tls-creds without a directory$/, /tls-creds=DIR/],
  ['tcp:h:1,tls-creds=', /says tls-creds without a directory$/, /tls-creds=DIR/],
  ['tcp:4000', /is no tcp:HOST:PORT$/, /tcp:localhost:4000/],
  ['tcp:::1:4000', /is no tcp:HOST:PORT$/, /tcp:\[::1\]:4000/],
  ['tcp:[]:4000', /is no tcp:HOST:PORT$/, /write/],
  ['tcp:h:0', /no port between 1 and 65535$/, /tcp:HOST:PORT/],
  ['tcp:h:65536', /no port between 1 and 65535$/, /tcp:HOST:PORT/],
  ['tcp:h:http', /no port between 1 and 65535$/, /tcp:HOST:PORT/],
  ['tcp::4000', /names no host to connect to$/, /write tcp:localhost:4000/],
  ['fd:2', /names no descriptor of 3 or more$/, /fd:N/],
  ['fd:-1', /names no descriptor of 3 or more$/, /fd:N/],
  ['fd:three', /names no descriptor of 3 or more$/, /fd:N/],
  ['fd:3,server', /makes a server of a descriptor$/, /leave out server/],
]

for (const [text, why, hint] of refused) {
  test(`is refused: ${text.length > 60 ? `${text.slice(0, 20)}...` : text}`, t => {
    const error = t.throws(() => parse(text), { instanceOf: TapferryError })
    t.is(error.code, 'STREAM_ADDRESS_INVALID')
    t.true(error.message.startsWith(`--indev: invalid address '${text}': it `), error.message)
    t.regex(error.message, why)
    t.regex(error.hint ?? '', hint)
  })
}

test('a refused address ends with status 2, and with one line to do next', async t => {
  const { status, stderr } = await tapferry('run', '--in-netdev=tapA', '--outdev=/run/a.sock')
  t.is(status, 2)
  t.regex(
    stderr,
    /^tapferry: error: --outdev: invalid address '\/run\/a\.sock': .*\n {2}.*unix:\/run\/a\.sock\n$/,
  )
})

test('any path survives being written with doubled commas', t => {
  fc.assert(
    fc.property(fc.stringMatching(/^\/[a-z,=:. -]{1,40}[a-z]$/), fc.boolean(), (path, server) => {
      // A path that resolve() would change is another one.
      fc.pre(!/\/\.|\/\//.test(path))
      const end = parse(`unix:${path.replaceAll(',', ',,')}${server ? ',server' : ''}`)
      return end.server === server && formatStreamAddress(end.address) === `unix:${path}`
    }),
  )
  t.pass()
})

test('any text is an address or a usage error', t => {
  const texts = fc.oneof(fc.string(), fc.stringMatching(/^(unix|tcp|fd):[[\]:,=a-z0-9./]{0,30}$/))
  fc.assert(
    fc.property(texts, text => {
      try {
        return formatStreamAddress(parse(text).address).length > 0
      } catch (error) {
        return error instanceof TapferryError && error.code === 'STREAM_ADDRESS_INVALID'
      }
    }),
  )
  t.pass()
})

test('an address is written as it is read', t => {
  for (const text of ['unix:/run/a.sock', 'tcp:h:4000', 'tcp:[::1]:4000', 'fd:3']) {
    t.is(formatStreamAddress(parse(text).address), text)
  }
})

test('only what surely stays on this host is loopback', t => {
  const loopback = ['127.0.0.1', '127.255.0.9', '::1', 'localhost', 'LOCALHOST']
  const others = ['', '0.0.0.0', '::', '192.0.2.1', '127.example.org', '127.0.0.1.nip.io', '::ffff:192.0.2.1']
  t.deepEqual(loopback.filter(isLoopback), loopback)
  t.deepEqual(others.filter(isLoopback), [])
})

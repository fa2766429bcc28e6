// Needs Java 17 and nothing else. Beside it: tls.pem, anchor.pem, client.pem and client.key. Run it as
//   java Client.java
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.CertPathValidator;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static final String BASE = "[[.Base]]";
    static final String COMMUNITY = "[[.Community]]";
    static final String CLIENT = "[[.Client]]";

    static HttpClient http;
    static PrivateKey key;
    static String x5c;

    public static void main(String[] args) throws Exception {
        http = HttpClient.newBuilder().sslContext(trusting(certificates("tls.pem"))).build();
        String pem = Files.readString(Path.of("client.key"));
        byte[] pkcs8 = Base64.getMimeDecoder().decode(pem.replaceAll("-----[A-Z ]+-----", ""));
        key = KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
        List<String> chain = new ArrayList<>();
        for (X509Certificate c : certificates("client.pem")) {
            chain.add('"' + Base64.getEncoder().encodeToString(c.getEncoded()) + '"');
        }
        x5c = String.join(",", chain);

        // 1. The signed metadata.
        String plain = send(HttpRequest.newBuilder(
            URI.create(BASE + "/.well-known/udap?community=" + encode(COMMUNITY))));
        String metadata = verified(member(plain, "signed_metadata"));
        String register = member(metadata, "registration_endpoint");
        String token = member(metadata, "token_endpoint");

        // 2. Registration: once. Keep the client_id.
        String statement = sign(CLIENT, register, """
            "client_name":"My client","contacts":["mailto:me@example.org"],"client_uri":"https://example.org/",
            "tos_uri":"https://example.org/terms","policy_uri":"https://example.org/privacy",
            "grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt",
            "scope":"system/Patient.rs\"""");
        String registered = send(HttpRequest.newBuilder(URI.create(register))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(
                "{\"software_statement\":\"" + statement + "\",\"udap\":\"1\"}")));
        String clientId = member(registered, "client_id");
        System.out.println("client_id " + clientId);

        // 3. A token, and a resource.
        String assertion = sign(clientId, token, """
            "extensions":{"hl7-b2b":{"version":"1",
            "organization_id":"https://example.org/organization","organization_name":"[[.Organization]]",
            "purpose_of_use":["[[.Purpose]]"]}}""");
        String granted = send(HttpRequest.newBuilder(URI.create(token))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .POST(HttpRequest.BodyPublishers.ofString(form(Map.of(
                "grant_type", "client_credentials",
                "scope", "system/Patient.rs",
                "udap", "1",
                "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion", assertion)))));
        System.out.println(send(HttpRequest.newBuilder(URI.create(BASE + "/Patient?_count=1"))
            .header("Accept", "application/fhir+json")
            .header("Authorization", "Bearer " + member(granted, "access_token"))));
    }

    /** Verifies signed metadata: chain to the anchor with revocation, signature, issuer and time. Returns its claims. */
    static String verified(String jwt) throws Exception {
        String[] part = jwt.split("\\.");
        Matcher list = Pattern.compile("\"x5c\"\\s*:\\s*\\[([^]]*)]").matcher(decode(part[0]));
        if (!list.find()) throw new IOException("no x5c");
        List<X509Certificate> chain = new ArrayList<>();
        for (String der : list.group(1).replaceAll("[\"\\s]", "").split(",")) {
            chain.add((X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(
                new java.io.ByteArrayInputStream(Base64.getDecoder().decode(der))));
        }

        System.setProperty("com.sun.security.enableCRLDP", "true");
        PKIXParameters trust = new PKIXParameters(store(certificates("anchor.pem")));
        CertPathValidator.getInstance("PKIX").validate(
            CertificateFactory.getInstance("X.509").generateCertPath(chain), trust);

        Signature signature = Signature.getInstance("SHA256withRSA");
        signature.initVerify(chain.get(0));
        signature.update((part[0] + "." + part[1]).getBytes(StandardCharsets.US_ASCII));
        if (!signature.verify(Base64.getUrlDecoder().decode(part[2]))) throw new IOException("wrong signature");

        String claims = decode(part[1]);
        boolean named = chain.get(0).getSubjectAlternativeNames().stream().anyMatch(n -> BASE.equals(n.get(1)));
        if (!named || !BASE.equals(member(claims, "iss"))) throw new IOException("the metadata is of another server");
        if (Long.parseLong(member(claims, "exp")) < Instant.now().getEpochSecond()) throw new IOException("expired");
        return claims;
    }

    /** Returns a JWT that lives for five minutes, with the certificate chain. */
    static String sign(String issuer, String audience, String claims) throws Exception {
        long now = Instant.now().getEpochSecond();
        String text = encode64("{\"alg\":\"RS256\",\"x5c\":[" + x5c + "]}") + "." + encode64(
            "{\"iss\":\"" + issuer + "\",\"sub\":\"" + issuer + "\",\"aud\":\"" + audience + "\",\"iat\":" + now
            + ",\"exp\":" + (now + 300) + ",\"jti\":\"" + UUID.randomUUID() + "\"," + claims + "}");
        Signature signature = Signature.getInstance("SHA256withRSA");
        signature.initSign(key);
        signature.update(text.getBytes(StandardCharsets.US_ASCII));
        return text + "." + Base64.getUrlEncoder().withoutPadding().encodeToString(signature.sign());
    }

    /** Returns the body of an answer that succeeded. */
    static String send(HttpRequest.Builder request) throws Exception {
        HttpResponse<String> answer = http.send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() / 100 != 2) throw new IOException(answer.statusCode() + " " + answer.body());
        return answer.body();
    }

    /** Returns a text or number of a JSON object; a program of your own has a JSON library for it. */
    static String member(String json, String name) throws IOException {
        Matcher m = Pattern.compile("\"" + name + "\"\\s*:\\s*\"?([^\",}]*)").matcher(json);
        if (!m.find()) throw new IOException("no " + name + " in " + json);
        return m.group(1).strip();
    }

    static List<X509Certificate> certificates(String file) throws Exception {
        List<X509Certificate> all = new ArrayList<>();
        try (var in = Files.newInputStream(Path.of(file))) {
            for (Certificate c : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                all.add((X509Certificate) c);
            }
        }
        return all;
    }

    static KeyStore store(List<X509Certificate> trusted) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        for (X509Certificate c : trusted) store.setCertificateEntry(c.getSerialNumber().toString(), c);
        return store;
    }

    static SSLContext trusting(List<X509Certificate> authorities) throws Exception {
        TrustManagerFactory managers = TrustManagerFactory.getInstance("PKIX");
        managers.init(store(authorities));
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }

    static String form(Map<String, String> fields) {
        return fields.entrySet().stream().map(f -> f.getKey() + "=" + encode(f.getValue()))
            .collect(Collectors.joining("&"));
    }

    static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    static String encode64(String text) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    static String decode(String part) {
        return new String(Base64.getUrlDecoder().decode(part), StandardCharsets.UTF_8);
    }
}

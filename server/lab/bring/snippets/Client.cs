// Needs .NET 6 or Mono, and nothing else. Beside it: tls.pem, anchor.pem and client.p12. Run it
// in a console project, where SSL_CERT_FILE works on Linux, or with Mono:
//   SSL_CERT_FILE=tls.pem dotnet run
//   cert-sync --user tls.pem
//   mcs -r:System.Net.Http -r:System.Runtime.Serialization Client.cs && mono Client.exe
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Runtime.Serialization.Json;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading.Tasks;
using System.Xml;

public static class Client
{
    const string Base = "[[.Base]]";
    const string Community = "[[.Community]]";
    const string Uri = "[[.Client]]";
    const string Password = "changeit";

    static readonly HttpClient http = new HttpClient();
    static RSA key;
    static string x5c;

    public static int Main()
    {
        try
        {
            Run().GetAwaiter().GetResult();
            return 0;
        }
        catch (Exception e)
        {
            Console.Error.WriteLine(e);
            return 1;
        }
    }

    static async Task Run()
    {
        var own = new X509Certificate2Collection();
        own.Import("client.p12", Password, X509KeyStorageFlags.Exportable);
        var signer = own.Cast<X509Certificate2>().First(c => c.HasPrivateKey);
        key = signer.GetRSAPrivateKey();
        var chain5 = new[] { signer }.Concat(own.Cast<X509Certificate2>().Where(c => !c.HasPrivateKey));
        x5c = string.Join(",", chain5.Select(c => '"' + Convert.ToBase64String(c.RawData) + '"'));

        // 1. The signed metadata.
        var plain = await Send(HttpMethod.Get, Base + "/.well-known/udap?community=" + System.Uri.EscapeDataString(Community));
        var metadata = Verified(Text(plain, "signed_metadata"));
        var register = Text(metadata, "registration_endpoint");
        var token = Text(metadata, "token_endpoint");

        // 2. Registration: once. Keep the client_id.
        var statement = Sign(Uri, register,
            "\"client_name\":\"My client\",\"contacts\":[\"mailto:me@example.org\"]," +
            "\"client_uri\":\"https://example.org/\",\"tos_uri\":\"https://example.org/terms\"," +
            "\"policy_uri\":\"https://example.org/privacy\"," +
            "\"grant_types\":[\"client_credentials\"],\"token_endpoint_auth_method\":\"private_key_jwt\"," +
            "\"scope\":\"system/Patient.rs\"");
        var registered = await Send(HttpMethod.Post, register, new StringContent(
            "{\"software_statement\":\"" + statement + "\",\"udap\":\"1\"}", Encoding.UTF8, "application/json"));
        var clientId = Text(registered, "client_id");
        Console.WriteLine("client_id " + clientId);

        // 3. A token, and a resource.
        var assertion = Sign(clientId, token,
            "\"extensions\":{\"hl7-b2b\":{\"version\":\"1\"," +
            "\"organization_id\":\"https://example.org/organization\",\"organization_name\":\"[[.Organization]]\"," +
            "\"purpose_of_use\":[\"[[.Purpose]]\"]}}");
        var granted = await Send(HttpMethod.Post, token, new FormUrlEncodedContent(new Dictionary<string, string>
        {
            ["grant_type"] = "client_credentials",
            ["scope"] = "system/Patient.rs",
            ["udap"] = "1",
            ["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ["client_assertion"] = assertion,
        }));
        Console.WriteLine(await Send(HttpMethod.Get, Base + "/Patient?_count=1", null, Text(granted, "access_token")));
    }

    // Verified verifies signed metadata: chain to the anchor, signature, issuer and time. It returns the claims.
    static string Verified(string jwt)
    {
        var part = jwt.Split('.');
        var header = Encoding.UTF8.GetString(Decode(part[0]));
        var chain = Json(header)["x5c"].ChildNodes.Cast<XmlNode>()
            .Select(c => new X509Certificate2(Convert.FromBase64String(c.InnerText))).ToArray();
        if (!LeadsTo(Certificates("anchor.pem"), chain)) throw new Exception("no chain to the anchor");

        var signed = Encoding.ASCII.GetBytes(part[0] + "." + part[1]);
        if (!chain[0].GetRSAPublicKey().VerifyData(
            signed, Decode(part[2]), HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1))
            throw new Exception("wrong signature");

        // 2.5.29.17: the alternative names; the URI is in them as it is.
        var names = Encoding.ASCII.GetString(chain[0].Extensions["2.5.29.17"].RawData);
        var claims = Encoding.UTF8.GetString(Decode(part[1]));
        if (!names.Contains(Base) || Text(claims, "iss") != Base) throw new Exception("the metadata is of another server");
        if (long.Parse(Text(claims, "exp")) < DateTimeOffset.UtcNow.ToUnixTimeSeconds()) throw new Exception("expired");
        return claims;
    }

    // LeadsTo reports whether a chain, leaf first, is valid now and ends at one of the roots.
    static bool LeadsTo(List<X509Certificate2> roots, X509Certificate2[] certificates)
    {
        var chain = new X509Chain();
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck; // Online, where the lists can be reached
        chain.ChainPolicy.VerificationFlags = X509VerificationFlags.AllowUnknownCertificateAuthority;
        foreach (var c in certificates.Skip(1).Concat(roots)) chain.ChainPolicy.ExtraStore.Add(c);
        if (!chain.Build(certificates[0])) return false;
        var end = chain.ChainElements[chain.ChainElements.Count - 1].Certificate;
        return roots.Any(r => r.RawData.SequenceEqual(end.RawData));
    }

    // Sign returns a JWT that lives for five minutes, with the certificate chain.
    static string Sign(string issuer, string audience, string claims)
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var text = Encode(Encoding.UTF8.GetBytes("{\"alg\":\"RS256\",\"x5c\":[" + x5c + "]}")) + "." +
            Encode(Encoding.UTF8.GetBytes(
                "{\"iss\":\"" + issuer + "\",\"sub\":\"" + issuer + "\",\"aud\":\"" + audience + "\",\"iat\":" + now +
                ",\"exp\":" + (now + 300) + ",\"jti\":\"" + Guid.NewGuid() + "\"," + claims + "}"));
        var signature = key.SignData(Encoding.ASCII.GetBytes(text), HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        return text + "." + Encode(signature);
    }

    // Send returns the body of an answer that succeeded.
    static async Task<string> Send(HttpMethod method, string url, HttpContent content = null, string token = null)
    {
        var request = new HttpRequestMessage(method, url) { Content = content };
        request.Headers.Accept.ParseAdd(token == null ? "application/json" : "application/fhir+json");
        if (token != null) request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        var answer = await http.SendAsync(request);
        var body = await answer.Content.ReadAsStringAsync();
        if (!answer.IsSuccessStatusCode) throw new Exception(url + ": " + (int)answer.StatusCode + " " + body);
        return body;
    }

    static XmlElement Json(string text)
    {
        var document = new XmlDocument();
        document.Load(JsonReaderWriterFactory.CreateJsonReader(
            Encoding.UTF8.GetBytes(text), XmlDictionaryReaderQuotas.Max));
        return document.DocumentElement;
    }

    static string Text(string json, string name)
    {
        return Json(json)[name].InnerText;
    }

    static List<X509Certificate2> Certificates(string file)
    {
        return Regex.Matches(File.ReadAllText(file), "-----BEGIN CERTIFICATE-----([^-]+)-----END").Cast<Match>()
            .Select(m => new X509Certificate2(Convert.FromBase64String(m.Groups[1].Value))).ToList();
    }

    static string Encode(byte[] data)
    {
        return Convert.ToBase64String(data).TrimEnd('=').Replace('+', '-').Replace('/', '_');
    }

    static byte[] Decode(string text)
    {
        text = text.Replace('-', '+').Replace('_', '/');
        return Convert.FromBase64String(text + new string('=', (4 - text.Length % 4) % 4));
    }
}
